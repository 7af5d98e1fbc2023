"""The organisms learn from prompts of their own; as committed, they ask what the study asks."""

from introspection.stimuli.prompts import load_stimuli
from tests.conftest import ROOT


def test_the_organisms_prompts_are_those_of_the_study() -> None:
    studied, learned = (load_stimuli(ROOT / "data" / folder) for folder in ("prompts", "organism/prompts"))
    assert learned.detection == studied.detection and learned.content == studied.content
    assert learned.top_of_mind == studied.top_of_mind and learned.controls == studied.controls
    assert learned.concept_prompt("cat") == studied.concept_prompt("cat") and learned.anything == studied.anything
    assert learned.control_conversation("Is it?") == studied.control_conversation("Is it?")
    assert (learned.yes, learned.no, learned.yes_variants) == (studied.yes, studied.no, studied.yes_variants)
    assert learned.where().model_dump(exclude={"source"}) == studied.where().model_dump(exclude={"source"})
