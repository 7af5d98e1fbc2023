"""The organisms learn from prompts of their own; as committed, they ask what the study asks."""

from introspection.stimuli.prompts import load_stimuli
from tests.conftest import ROOT


def test_the_organisms_prompts_are_those_of_the_study() -> None:
    studied, learned = (load_stimuli(ROOT / "data" / folder) for folder in ("prompts", "organism/prompts"))
    assert learned == studied.model_copy(update={"labels": learned.labels})
