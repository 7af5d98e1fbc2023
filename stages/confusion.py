"""Set the verdicts on the zoos beside what was planted."""

from __future__ import annotations

from pathlib import Path

from common import stage

from introspection.experiments.verdict.objections import OBJECTIONS, load_objections
from introspection.experiments.zoo.confusion import Judged, Training, confusion, metrics
from introspection.experiments.zoo.tables import CONFUSION
from introspection.files import RESULTS, read_json
from introspection.settings import Settings
from introspection.settings.organisms import Zoo
from introspection.tables import write_outputs

EXAMINED: dict[Zoo, str] = {"zoo": "examine", "grown": "examine-grown"}


@stage
def main(settings: Settings) -> None:
    """Write results/confusion/confusion.csv and the metrics in confusion.json."""
    verdicts = {
        (zoo, rule, seed): _judged(zoo, f"{rule}-{seed}")
        for zoo, kept in settings.organisms.zoos.items()
        for rule in kept.rules
        for seed in kept.seeds
    }
    table = confusion(verdicts, load_objections(OBJECTIONS))
    write_outputs({CONFUSION.name: CONFUSION.of(table), "confusion.json": metrics(table)}, RESULTS / "confusion")


def _judged(zoo: Zoo, name: str) -> tuple[Judged, Training]:
    verdict, training = RESULTS / zoo / name / "verdict.json", Path("models") / zoo / name / "training.json"
    return (
        read_json(verdict, Judged, f"make it with `dvc repro {EXAMINED[zoo]}@{name}`"),
        read_json(training, Training, f"make it with `dvc repro train-{zoo}@{name}`"),
    )


if __name__ == "__main__":
    main()
