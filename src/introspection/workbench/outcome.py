"""What an injection did, as plain values: `dataclasses.asdict` gives what `--json` prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Reading:
    """The next-token distribution read as an answer: probabilities, log-odds and logit(yes) - logit(no) in nats."""

    p_yes: float
    p_no: float
    answer_mass: float
    log_odds_yes: float
    logit_difference: float


@dataclass(frozen=True)
class Answer:
    """The answer to one question in both arms. shift: what the injection adds to the log-odds of yes, in nats."""

    base: Reading
    injected: Reading
    shift: float

    @classmethod
    def of(cls, base: Reading, injected: Reading) -> Answer:
        """Both arms with their difference."""
        return cls(base, injected, injected.log_odds_yes - base.log_odds_yes)


@dataclass(frozen=True)
class Control:
    """A control question, its right answer, and the model's."""

    question: str
    expected: Literal["yes", "no"]
    answer: Answer


@dataclass(frozen=True)
class Lens:
    """The summed probability of the ways to say yes, by layer (0 the embedding, k after block k-1), in both arms."""

    base: tuple[float, ...]
    injected: tuple[float, ...]


@dataclass(frozen=True)
class Gained:
    """A token whose probability the injection increased, after the beginning of a reply; the shift is in nats."""

    after: str
    token: str
    p_base: float
    p_injected: float
    log_odds_shift: float


@dataclass(frozen=True)
class Passage:
    """A stretch of text, and whether the vector was added while the model read or wrote it."""

    text: str
    steered: bool


@dataclass(frozen=True)
class Reply:
    """What a model went on to say, greedily, in both arms; `read` is what it had read."""

    title: str
    read: tuple[Passage, ...]
    base: Passage
    injected: Passage


@dataclass(frozen=True)
class Injected:
    """What was injected. fraction: the strength over the residual stream's mean norm in the layers; None where that
    was neither asked for nor measured by the study. length: the vector's mean Euclidean norm over the layers.
    """

    model: str
    vector: str
    first_layer: int
    last_layer: int
    strength: float
    fraction: float | None
    length: float


@dataclass(frozen=True)
class Outcome:
    """Both arms of everything that was read."""

    injected: Injected
    answer: Answer
    controls: tuple[Control, ...]
    lens: Lens
    gained: tuple[Gained, ...]
    replies: tuple[Reply, ...]
