"""Set the verdicts on the zoo beside what was planted."""

from __future__ import annotations

from pathlib import Path

from common import stage

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.zoo.confusion import Judged, Training, confusion, metrics
from introspection.experiments.zoo.tables import CONFUSION
from introspection.files import RESULTS, read_json
from introspection.settings import Settings
from introspection.tables import write_outputs


@stage
def main(settings: Settings) -> None:
    """Write results/confusion/confusion.csv and the metrics in confusion.json."""
    zoo = settings.organisms.zoo
    verdicts = {(rule, seed): _judged(f"{rule}-{seed}") for rule in zoo.rules for seed in zoo.seeds}
    table = confusion(verdicts, load_objections(OBJECTIONS))
    write_outputs({CONFUSION.name: CONFUSION.of(table), "confusion.json": metrics(table)}, RESULTS / "confusion")


def _judged(name: str) -> tuple[Judged, Training]:
    verdict, training = RESULTS / "zoo" / name / "verdict.json", Path("models/zoo") / name / "training.json"
    return (
        read_json(verdict, Judged, f"make it with `dvc repro examine@{name}`"),
        read_json(training, Training, f"make it with `dvc repro train-zoo@{name}`"),
    )


if __name__ == "__main__":
    main()
