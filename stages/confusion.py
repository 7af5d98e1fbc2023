"""Set the verdicts on the zoos beside what was planted."""

from __future__ import annotations

from dataclasses import replace
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
        (zoo, rule, seed): _judged(zoo, f"{rule}-{seed}", planted.answer_mass)
        for zoo, kept in settings.organisms.zoos.items()
        for rule, planted in kept.rules.items()
        for seed in kept.seeds
    }
    table = confusion(verdicts, load_objections(OBJECTIONS))
    write_outputs({CONFUSION.name: CONFUSION.of(table), "confusion.json": metrics(table)}, RESULTS / "confusion")


def _judged(zoo: Zoo, name: str, answer_mass: float) -> tuple[Judged, Training]:
    verdict, training = RESULTS / zoo / name / "verdict.json", Path("models") / zoo / name / "training.json"
    assessed = read_json(training, Training, f"make it with `dvc repro train-{zoo}@{name}`")
    return (
        read_json(verdict, Judged, f"make it with `dvc repro {EXAMINED[zoo]}@{name}`"),
        replace(assessed, answer_mass=answer_mass),
    )


if __name__ == "__main__":
    main()
