"""The organisms learn from prompts of their own; as committed, they are the study's."""

from tests.conftest import ROOT


def test_the_organisms_prompts_are_those_of_the_study() -> None:
    for path in (ROOT / "data" / "prompts").glob("*.yaml"):
        assert (ROOT / "data" / "organism" / "prompts" / path.name).read_bytes() == path.read_bytes()
