"""What can be injected, and how result files, tables and figures call it: names, their order and their words, once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

Kind = Literal["concept", "persona", "random", "finetune"]
"""concept: a control vector of the study's concepts. persona: what a finetune's activations have over the model's.
random: a direction that means nothing. finetune: no vector, but a turn 1 that the finetune has read."""

KINDS: tuple[Kind, ...] = ("concept", "persona", "random", "finetune")
"""In the order of every result file."""

PERSONA = "persona"
ANTI_PERSONA = "anti_persona"  # the persona vector with its sign turned, in replies alone
FINETUNE = "finetune"
NOTHING = "none"
ANYTHING = "anything"  # the side of a concept vector that stands for no concept
RANDOM = "random"  # all random directions together

WEAK = "weak"  # a scenario of the logit lens: a prompt at a fraction of the strength

_RANDOM_NAME = re.compile(rf"{RANDOM}_\d+")
_RESERVED = (PERSONA, ANTI_PERSONA, FINETUNE, NOTHING, ANYTHING, RANDOM)


def random_name(number: int) -> str:
    """The name of a random direction, numbered from 1."""
    return f"{RANDOM}_{number}"


def kind_of(vector: str) -> Kind:
    """What kind of thing a name of a result file stands for."""
    if vector == FINETUNE:
        return "finetune"
    if vector in (PERSONA, ANTI_PERSONA):
        return "persona"
    return "random" if vector == RANDOM or _RANDOM_NAME.fullmatch(vector) else "concept"


def of_kind(kind: Kind, vectors: Iterable[object]) -> list[str]:
    """The names of a kind among those of a table's column, once each, in its order."""
    return [name for name in dict.fromkeys(map(str, vectors)) if kind_of(name) == kind]


def vector_names(concepts: Sequence[str], random_directions: int, has_finetune: bool) -> list[str]:
    """All vectors that are injected, in the order of every result file."""
    persona = [PERSONA] if has_finetune else []
    return [*concepts, *persona, *(random_name(number) for number in range(1, random_directions + 1))]


def vector_label(vector: str) -> str:
    """A name in words, as tables and figures have it; a concept is its own word."""
    words = {
        NOTHING: "nothing injected",
        PERSONA: "persona vector",
        ANTI_PERSONA: "persona vector reversed",
        RANDOM: "random directions",
    }
    return words.get(vector, vector.replace("_", " ") if kind_of(vector) == "random" else vector)


def check_concepts(concepts: Sequence[str]) -> None:
    """Raise ValueError for a concept that could not be told from a name of ours, or whose file from another's."""
    files: dict[str, str] = {}
    for concept in concepts:
        if not re.fullmatch(
            r"[\w\u0300-\u036f\u0900-\u0dff][\w\u0300-\u036f\u0900-\u0dff-]*( [\w\u0300-\u036f\u0900-\u0dff-]+)*",
            concept,
        ):
            raise ValueError(f"{concept!r} cannot name a vector file; use words of letters, digits, '-' and '_'")
        folded = unicodedata.normalize("NFKC", concept).casefold()
        if folded in _RESERVED or _RANDOM_NAME.fullmatch(folded):
            raise ValueError(f"{concept!r} is a name of the study itself; choose another word")
        if len(file_name(concept).encode()) > _LONGEST_FILE_NAME:
            raise ValueError(f"{concept[:40]!r}… is too long to name a file; use at most {_LONGEST_FILE_NAME} bytes")
        if folded in files:
            other = files[folded]
            raise ValueError(
                f"{concept!r} is listed twice; name each once"
                if other == concept
                else f"{concept!r} and {other!r} would share a file where case or form does not count; change one"
            )
        files[folded] = concept


_LONGEST_FILE_NAME = 200  # bytes; file systems take 255, and an unfinished file has a longer name


def file_name(vector: str) -> str:
    """The file of a vector in `results/<model>/vectors`."""
    return f"{vector}.gguf"
