"""The prompts of the study as the paper calls them and in the order it has them, from the stimuli alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from introspection.names import WEAK
from introspection.stimuli.prompts import Stimuli


@dataclass(frozen=True)
class Prompts:
    """names: the detection prompts, in the order of their file. main: the one that the prose follows, under which the
    control questions are asked too. labels: what a prompt is called where that is not its name with spaces.
    descriptions: what the method says of a prompt, after its name."""

    names: tuple[str, ...]
    main: str
    labels: Mapping[str, str]
    descriptions: Mapping[str, str]

    @classmethod
    def of(cls, stimuli: Stimuli) -> Prompts:
        """Those of the stimuli."""
        return cls(tuple(stimuli.detection), stimuli.control_prompt, stimuli.labels, stimuli.descriptions)

    @property
    def conditions(self) -> tuple[str, ...]:
        """What curves and marks may stand for: the prompts, and last the weak injection of the lens."""
        return (*self.names, WEAK)

    def label(self, prompt: str) -> str:
        """A prompt in words."""
        return self.labels.get(prompt, prompt.replace("_", " "))

    def after_with(self, prompt: str) -> str:
        """A prompt in words as they follow `with` in a sentence."""
        return self.label(prompt).removeprefix("with ")

    def ordered(self, conditions: Iterable[str]) -> list[str]:
        """These conditions once each in the order of the prompts' file, ones that it does not have after them."""
        places = {name: place for place, name in enumerate(self.conditions)}
        return sorted(dict.fromkeys(conditions), key=lambda name: places.get(name, len(places)))

    def others(self, conditions: Iterable[str]) -> list[str]:
        """As `ordered`, without the main prompt."""
        return [name for name in self.ordered(conditions) if name != self.main]
