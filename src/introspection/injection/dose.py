"""The numbers of a model's injections, where and how strongly: what the experiments depend on, in small files.

`results/<model>/injection/` holds a file for questions, one for replies (for which a study may choose the persona
vector's strength apart) and one for the sweep, so that a changed number reruns what it touches and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from introspection import names
from introspection.engine.trial import Injection
from introspection.settings import ModelSettings, SweepSettings

QUESTIONS, REPLIES, SWEEP = "injection/questions.json", "injection/replies.json", "injection/sweep.json"


@dataclass(frozen=True)
class Dose:
    """An inclusive range of decoder blocks and the strength there; the persona vector's own, if there is one."""

    first_layer: int
    last_layer: int
    strength: float
    persona_strength: float | None

    @property
    def layers(self) -> tuple[int, int]:
        """The range of blocks."""
        return self.first_layer, self.last_layer

    def strength_of(self, vector: str) -> float:
        """How strongly a vector is injected. Raises ValueError for a persona vector without a finetune."""
        if names.kind_of(vector) != "persona":
            return self.strength
        if self.persona_strength is None:
            raise ValueError("a model without a finetune has no persona vector: give it a `contrast` in params.yaml")
        return -self.persona_strength if vector == names.ANTI_PERSONA else self.persona_strength

    def injection(self, vector: str) -> Injection:
        """A vector injected so."""
        trained = names.PERSONA if vector == names.ANTI_PERSONA else vector
        return Injection(trained, self.strength_of(vector), self.first_layer, self.last_layer)

    def injections(self, vectors: Iterable[str]) -> list[Injection]:
        """Each vector injected so."""
        return [self.injection(vector) for vector in vectors]

    def within(self, layers: tuple[int, int]) -> Dose:
        """The same strengths in another range."""
        return replace(self, first_layer=layers[0], last_layer=layers[1])


@dataclass(frozen=True)
class Guide:
    """Whose yes answer leads a sweep from coarse to fine, and where ranges may start, a fraction of the depth."""

    vector: str
    prompt: str
    earliest_start: float


@dataclass(frozen=True)
class SweepDose:
    """The strength in every range of the sweep, and what guides it; None measures every range."""

    strength: float
    guide: Guide | None


@dataclass(frozen=True)
class ChosenRange:
    """An inclusive range of blocks, the answer it was chosen for, the rule in words, and which ranges were measured."""

    first_layer: int
    last_layer: int
    p_yes: float
    log_odds_yes: float
    candidates: int
    rule: str
    mode: str


@dataclass(frozen=True)
class Doses:
    """All numbers of a model's injections."""

    questions: Dose
    replies: Dose
    sweep: SweepDose


def doses(model: ModelSettings, sweep: SweepSettings) -> Doses:
    """What `params.yaml` says of a model's injections, and of the sweep over its layers."""
    contrast = model.contrast
    guide = Guide(sweep.choose_concept, sweep.choose_prompt, sweep.earliest_start)
    return Doses(
        questions=Dose(*model.layers, model.strength, contrast.strength if contrast else None),
        replies=Dose(*model.layers, model.strength, contrast.samples_at if contrast else None),
        sweep=SweepDose(model.strength, guide if sweep.mode == "coarse_to_fine" else None),
    )
