"""Was what is planted in an organism measured? Its metrics, from result files alone."""

from __future__ import annotations

from pathlib import Path

from introspection.experiments.content.tables import CONTENT
from introspection.experiments.controls.tables import CONTROLS
from introspection.experiments.detection.tables import DETECTION
from introspection.experiments.instrument.check import (
    check_controls,
    check_detection,
    check_naming,
    check_samples,
    held_out,
)
from introspection.experiments.samples.tables import SAMPLES
from introspection.files import PROMPTS
from introspection.organism.corpus import load_corpus
from introspection.settings import Settings
from introspection.stimuli.prompts import Stimuli

ORGANISM = Path("data/organism")


def summarise(settings: Settings, key: str, folder: Path) -> dict[str, object]:
    """`instrument.json` of a model, which says of one that is no organism that nothing is planted in it."""
    organism = settings.organism_of(key)
    metrics: dict[str, object] = {"organism": organism is not None}
    concepts = held_out(settings.organisms, settings.study.concepts)
    if organism is not None and concepts:
        detection, controls, samples, content = (
            table.read(folder / table.name, f"make it with `dvc repro {stage}@{key}`")
            for table, stage in (
                (DETECTION, "detection"),
                (CONTROLS, "controls"),
                (SAMPLES, "samples"),
                (CONTENT, "content"),
            )
        )
        stimuli = Stimuli(PROMPTS)
        metrics |= {
            "detection": check_detection(detection, settings.organisms.trained[organism], concepts),
            "controls": check_controls(controls, concepts, stimuli.expected),
            "top_of_mind": check_samples(samples, concepts, load_corpus(ORGANISM)),
            "naming": check_naming(content, concepts, next(iter(stimuli.content))),
        }
    return {"instrument.json": metrics}
