"""The numbers of a model's injections, where and how strongly: what the experiments depend on, in small files.

`results/<model>/injection/` holds a file for questions, one for replies (for which a study may choose the persona
vector's strength apart) and one for the sweep, so that a changed number reruns what it touches and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from introspection import names

QUESTIONS, REPLIES, SWEEP = "injection/questions.json", "injection/replies.json", "injection/sweep.json"


@dataclass(frozen=True)
class Dose:
    """An inclusive range of decoder blocks, the strength there, and the persona vector's (None without a finetune)."""

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
