"""The organisms learn from prompts of their own; as committed, they are the study's."""

from introspection.stimuli.prompts import load_stimuli
from tests.conftest import ROOT


def test_the_organisms_prompts_are_those_of_the_study() -> None:
    """What is asked is the same; how tables call a prompt is the study's alone."""
    study, organisms = (load_stimuli(ROOT / "data" / folder) for folder in ("prompts", "organism/prompts"))
    assert organisms.model_dump(exclude={"labels"}) == study.model_dump(exclude={"labels"})
