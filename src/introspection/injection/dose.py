"""The numbers of a model's injections, where and how strongly: what the experiments depend on, in small files.

`results/<model>/injection/` holds a file for questions, one for replies (for which a study may choose the persona
vector's strength apart) and one for the sweep, so that a changed number reruns what it touches and nothing else.
A strength may be a rule instead of a number. What rules are resolved with is in a file beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from introspection import names
from introspection.engine.trial import Injection
from introspection.settings import ModelSettings, Number, OfNorm, Strength, SweepSettings

QUESTIONS, REPLIES, SWEEP = "injection/questions.json", "injection/replies.json", "injection/sweep.json"
CALIBRATION = "injection/calibration.json"


@dataclass(frozen=True)
class Dose:
    """An inclusive range of decoder blocks and the strength there; the persona vector's own, if there is one."""

    first_layer: int
    last_layer: int
    strength: Number
    persona_strength: Number | None

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

    strength: Number
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


@dataclass(frozen=True)
class Calibration:
    """What the strengths of a model are resolved with where they are rules.

    model: its key in `params.yaml`.
    norm: the mean norm of the residual stream over its layers.
    fraction: the largest tried fraction of the norm that it bears; None where it bears none of them.
    broken: what breaks at the next larger one, in words; None where nothing does.
    """

    model: str
    norm: float
    fraction: float | None
    broken: str | None = None

    def strength_of(self, strength: Strength, key: str) -> float:
        """A strength as a number; `key` is its own below the model's in `params.yaml`.

        Raises ValueError where it is to be calibrated and the model bears no tried dose.
        """
        if isinstance(strength, OfNorm):
            return of_norm(strength.of_norm, self.norm)
        if strength != "calibrated":
            return strength
        if self.fraction is None:
            raise ValueError(
                f"models.{self.model}.{key}: calibrated: the model does not bear the smallest of dose.fractions: "
                f"{self.broken}; add smaller fractions there, or give a number here"
            )
        return of_norm(self.fraction, self.norm)


def of_norm(fraction: float, norm: float) -> float:
    """The strength that is a fraction of a norm, to four significant digits, as a person could write it."""
    return float(f"{fraction * norm:.4g}")


def doses(model: ModelSettings, sweep: SweepSettings, calibration: Calibration | None = None) -> Doses:
    """What `params.yaml` says of a model's injections, and of the sweep over its layers.

    Raises ValueError for a strength by rule without a calibration, or with one in which the model bears nothing.
    """

    def number(strength: Strength, key: str) -> float:
        if calibration is not None:
            return calibration.strength_of(strength, key)
        if not isinstance(strength, int | float):
            raise ValueError(
                f"{model.source}: {key} is a rule, and nothing was measured that it could be resolved with"
            )
        return strength

    strength, contrast = number(model.strength, "strength"), model.contrast
    persona = number(contrast.strength, "contrast.strength") if contrast else None
    persona_in_replies = number(contrast.samples_at, "contrast.sample_strength") if contrast else None
    guide = Guide(sweep.choose_concept, sweep.choose_prompt, sweep.earliest_start)
    return Doses(
        questions=Dose(*model.layers, strength, persona),
        replies=Dose(*model.layers, strength, persona_in_replies),
        sweep=SweepDose(strength, guide if sweep.mode == "coarse_to_fine" else None),
    )
