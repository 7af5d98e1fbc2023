"""What can be injected, and how result files, tables and figures call it: names, their order and their words, once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Literal

Kind = Literal[
    "concept",
    "persona",
    "random",
    "coherent",
    "covariance",
    "halves",
    "phrasing",
    "shared",
    "centred",
    "negated",
    "finetune",
]
"""concept: a control vector of a concept. persona: what a finetune's activations have over the model's.
random: a direction that means nothing, drawn anew at every block. coherent: one that is the same at all blocks.
covariance: drawn with the covariance of the model's own states. halves, phrasing: contrasts of texts without a concept,
of one half of them with the other, and of one request with another. shared: the mean of concepts' vectors. centred: a
concept's vector less its part along that mean. negated: a concept's vector reversed.
finetune: no vector, but a turn 1 that the finetune has read."""

DRAWN: tuple[Kind, ...] = ("random", "coherent", "covariance", "halves", "phrasing")
"""The kinds whose members have nothing but a number."""

DERIVED: tuple[Kind, ...] = ("shared", "centred", "negated")
"""The kinds whose members are made of concepts' vectors."""

COMPANIONS: tuple[Kind, ...] = ("coherent", *DERIVED)
"""The kinds that stand beside the study's vectors in some experiments, and have no files."""

GROUPED: tuple[Kind, ...] = (*DRAWN, *DERIVED)
"""The kinds whose members stand together in tables and figures, as their mean."""

KINDS: tuple[Kind, ...] = ("concept", "persona", *GROUPED, "finetune")
"""In the order of every result file."""

PERSONA = "persona"
ANTI_PERSONA = "anti_persona"  # the persona vector with its sign turned, in replies alone
FINETUNE = "finetune"
NOTHING = "none"
ANYTHING = "anything"  # the side of a concept vector that stands for no concept
RANDOM = "random"  # all random directions together
SHARED = "shared"  # the mean of all concepts' vectors

WEAK = "weak"  # a scenario of the logit lens: a prompt at a fraction of the strength

_GROUPED_NAME = re.compile(rf"({'|'.join(DRAWN)})_\d+|({'|'.join(DERIVED)})_.+")


def random_name(number: int) -> str:
    """The name of a random direction, numbered from 1."""
    return f"{RANDOM}_{number}"


def numbered(kind: Kind, count: int) -> list[str]:
    """The names of so many directions of a kind that is drawn."""
    return [f"{kind}_{number}" for number in range(1, count + 1)]


def derived(kind: Kind, concept: str) -> str:
    """The name of what a kind makes of a concept: `centred_cat`; for `shared`, of the concept's others."""
    return f"{kind}_{concept}"


def kind_of(vector: str) -> Kind:
    """What kind of thing a name of a result file stands for."""
    if vector == FINETUNE:
        return "finetune"
    if vector in (PERSONA, ANTI_PERSONA):
        return "persona"
    named = _GROUPED_NAME.fullmatch(vector)
    head = vector.partition("_")[0] if named else vector
    return next((kind for kind in GROUPED if kind == head), "concept")


def of_kind(kind: Kind, vectors: Iterable[object]) -> list[str]:
    """The names of a kind among those of a table's column, once each, in its order."""
    return [name for name in dict.fromkeys(map(str, vectors)) if kind_of(name) == kind]


def vector_names(concepts: Sequence[str], random_directions: int, has_finetune: bool) -> list[str]:
    """All vectors that are injected, in the order of every result file."""
    persona = [PERSONA] if has_finetune else []
    return [*concepts, *persona, *numbered("random", random_directions)]


def companion_names(concepts: Sequence[str], random_directions: int) -> list[str]:
    """What is injected beside them to tell a concept from what concepts share; one concept shares nothing."""
    kinds: tuple[Kind, ...] = DERIVED if len(concepts) > 1 else ("negated",)
    made = [derived(kind, concept) for kind in kinds for concept in concepts]
    return [*numbered("coherent", random_directions), *made]


def vector_label(vector: str) -> str:
    """A name in words, as tables and figures have it; a concept is its own word."""
    if vector in _LABELS:
        return _LABELS[vector]
    kind = kind_of(vector)
    if kind in DRAWN:
        return vector.replace("_", " ")
    return f"{vector.removeprefix(f'{kind}_')}, {kind}" if kind in DERIVED else vector


_LABELS = {
    NOTHING: "nothing injected",
    PERSONA: "persona vector",
    ANTI_PERSONA: "persona vector reversed",
    RANDOM: "random directions",
    "coherent": "random, same in all blocks",
    "covariance": "random, as states vary",
    "halves": "two halves of texts",
    "phrasing": "two phrasings",
    SHARED: "what concepts share",
    "centred": "concepts without that",
    "negated": "concepts reversed",
}


def check_concepts(concepts: Sequence[str]) -> None:
    """Raise ValueError for a concept that could not be told from a name of ours, or whose file from another's."""
    files: dict[str, str] = {}
    for concept in concepts:
        if not all(map(_is_word, concept.split(" "))):
            raise ValueError(
                f"{concept[:40]!r} cannot name a vector file; use words of letters, digits, '-' and '_', single spaces"
            )
        if _width(concept) > _WIDEST:
            raise ValueError(f"{concept[:40]!r} is too long for tables and files; use at most {_WIDEST} letters")
        folded = unicodedata.normalize("NFKC", concept).casefold()
        if folded in (FINETUNE, NOTHING, ANYTHING) or kind_of(folded) != "concept":
            raise ValueError(f"{concept!r} is a name of the study itself; choose another word")
        if folded in files:
            other = files[folded]
            raise ValueError(
                f"{concept!r} is listed twice; name each once"
                if other == concept
                else f"{concept!r} and {other!r} would share a file where case or form does not count; change one"
            )
        files[folded] = concept


_WIDEST = 22  # letters that a column of a table has room for
_OF_A_WORD = ("L", "N", "M")  # categories: letters, digits, and the marks that are part of most scripts' letters


def _is_word(text: str) -> bool:
    """Whether a text is one word that may be in a file's name and in a table."""
    kinds = [unicodedata.category(character)[0] if character not in "_-" else character for character in text]
    return bool(kinds) and kinds[0] not in ("M", "-") and set(kinds) <= {*_OF_A_WORD, "_", "-"}


def _width(text: str) -> int:
    """How many letters wide a text is set: some are two wide, and a mark may be shown as its code point."""
    wide = {"W": 2, "F": 2}
    return sum(
        6 if unicodedata.category(character)[0] == "M" else wide.get(unicodedata.east_asian_width(character), 1)
        for character in text
    )


def file_name(vector: str) -> str:
    """The file of a vector in `results/<model>/vectors`."""
    return f"{vector}.gguf"
