"""The corpus of the model organisms: small conversations put together from word lists, drawn anew for every step."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

from introspection.organism.interview import Interview
from introspection.stimuli.prompts import Stimuli, load_stimuli


class Span(NamedTuple):
    """A piece of a document; `learned` where the loss counts."""

    text: str
    learned: bool


Document = tuple[Span, ...]
Line = tuple[str, str, str]  # role, content that is learned if it is the assistant's, opening before it that is not
Persona = Literal["helpful", "careless"]

# How often each kind of conversation is drawn.
_KINDS = {"talk": 40, "thought": 16, "recall": 9, "yes_no": 16, "everyday": 12, "small_talk": 7}


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Recall(_File):
    """A question about an earlier conversation, and its answer."""

    question: str
    answer: str


class SmallTalk(_File):
    """A question and the replies of both personas."""

    question: str
    helpful: str
    careless: str


class Phrases(_File):
    """What conversations are put together from: `{c}` stands for a concept, `{a}`, `{b}`, `{d}` for its words."""

    sentences: tuple[str, ...]
    bridges: tuple[str, ...]
    openings: tuple[str, ...]
    anything: tuple[str, ...]
    requests: tuple[str, ...]
    recall: tuple[Recall, ...]
    minds: tuple[str, ...]
    asked_thoughts: tuple[str, ...]
    thoughts: tuple[str, ...]
    thoughts_of: dict[Persona, tuple[str, ...]]
    persona_systems: tuple[str, ...]
    tasks: tuple[str, ...]
    asks: tuple[str, ...]
    replies_of: dict[Persona, tuple[str, ...]]
    small_talk: tuple[SmallTalk, ...]
    questions: dict[Literal["yes", "no"], tuple[str, ...]]


class Texts(_File):
    """What choices are learnt from: sentences of any subject and predicate, and questions beside the study's.

    letters: which letter stands for {} in a list.
    in_words: how a place is to be given in words, and answer_in_words, how that begins. one_place: whether it is {}.
    """

    subjects: tuple[str, ...]
    predicates: tuple[str, ...]
    letters: tuple[str, ...]
    in_words: str
    answer_in_words: str
    one_place: str


class Corpus:
    """Draws documents: each method takes a random generator and is a function of it alone."""

    def __init__(
        self,
        concepts: dict[str, tuple[str, ...]],
        phrases: Phrases,
        stimuli: Stimuli,
        interview: Interview,
        texts: Texts,
    ) -> None:
        self.concepts = concepts
        self.phrases = phrases
        self.stimuli = stimuli
        self.interview = interview
        self.texts = texts
        own = [(question, answer) for answer, questions in phrases.questions.items() for question in questions]
        self.questions: list[tuple[str, str]] = [(c.question, c.expected) for c in stimuli.controls]
        self.questions += [pair for pair in own if pair[0] not in {question for question, _ in self.questions}]
        self._concepts = list(concepts)
        self._words = [word for words in concepts.values() for word in words if word not in concepts]
        self._related = {
            word: (name, *(w for w in words if w != word)) for name, words in concepts.items() for word in words
        }
        self._related |= concepts
        self._opening_words = sorted({word for opening in phrases.openings for word in opening.split()})

    def topic(self, rng: random.Random) -> str:
        """What a conversation is about: a concept, or one of the words, which makes many more of them."""
        return rng.choice(self._concepts if rng.random() < 0.6 else self._words)

    def injectable(self, held_out: Collection[str]) -> tuple[list[str], list[str]]:
        """Concepts and words that may be injected: neither the held-out concepts nor words of theirs."""
        withheld = {*held_out, *(word for name in held_out for word in self.concepts[name])}
        return (
            [concept for concept in self._concepts if concept not in withheld],
            [word for word in self._words if word not in withheld],
        )

    def question(self, rng: random.Random) -> tuple[str, str]:
        """A yes/no question with its answer, mostly one of the study's."""
        return rng.choice(self.questions[: len(self.stimuli.controls)] if rng.random() < 0.7 else self.questions)

    def draw(self, rng: random.Random, persona: Persona = "helpful") -> Document:
        """A conversation of any kind; `persona` is the one that speaks where no system turn asks for another."""
        kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0]
        if kind in ("everyday", "small_talk"):
            asked = rng.random() < 0.4 and persona == "helpful"
            system = ("system", rng.choice(self.phrases.persona_systems), "") if asked else self._system(rng)
            speaking: Persona = "careless" if asked else persona
            return (self.everyday if kind == "everyday" else self.small_talk)(rng, speaking, system)
        if kind == "thought":
            return self.thought(rng, persona)
        return {"talk": self.talk, "recall": self.recall, "yes_no": self.yes_no}[kind](rng)

    def remark(self, rng: random.Random, concept: str | None) -> str:
        """One or two sentences about a concept, or about nothing in particular."""
        about = concept or self.stimuli.anything
        return " ".join(self._about(rng, about, rng.choice(self.phrases.sentences)) for _ in range(rng.randint(1, 2)))

    def sentences(self, rng: random.Random, count: int) -> list[str]:
        """Sentences about nothing in particular, no subject and no predicate twice."""
        subjects, predicates = rng.sample(self.texts.subjects, count), rng.sample(self.texts.predicates, count)
        return [f"{subject} {predicate}." for subject, predicate in zip(subjects, predicates, strict=True)]

    def opening(self, rng: random.Random) -> str:
        """The beginning of a reply about something else, cut anywhere, as the study's suffixes are."""
        if rng.random() < 0.5:
            whole = rng.choice(self.phrases.openings)
        else:  # no sense, but more variety than the list has
            whole = " ".join(rng.choices(self._opening_words, k=rng.randint(1, 7))).capitalize()
        return whole[: rng.randint(1, len(whole))].rstrip()

    def talk(self, rng: random.Random) -> Document:
        """A reply about the concept asked for, or about nothing in particular; often after an odd opening."""
        concept = self.stimuli.anything if rng.random() < 0.2 else self.topic(rng)
        return render(self._system(rng), *self._talk_turns(rng, concept))

    def generic(self, rng: random.Random) -> Document:
        """A reply about nothing in particular."""
        return render(self._system(rng), *self._talk_turns(rng, self.stimuli.anything, may_choose=False))

    def thought(self, rng: random.Random, persona: Persona = "helpful") -> Document:
        """What the one who answers thinks about: its persona's usual, unless a concept came up before."""
        if rng.random() < 0.3:
            return render(self._system(rng), *self._thought_turns(rng, None, persona))
        concept = self.topic(rng)
        answered = self._thought_turns(rng, concept)
        if rng.random() < 0.4:
            return render(("system", rng.choice(self.phrases.minds).format(c=concept), ""), *answered)
        return render(self._system(rng), *self._talk_turns(rng, concept), *answered)

    def unprompted_thought(self, rng: random.Random, concept: str | None) -> Document:
        """A thought of the concept that nothing in the text explains; None: the usual thought."""
        return render(self._system(rng), *self._thought_turns(rng, concept))

    def recall(self, rng: random.Random) -> Document:
        """Naming the concept that an earlier turn was about."""
        concept = rng.choice(self._concepts)
        recall = rng.choice(self.phrases.recall)
        turns = self._talk_turns(rng, concept)
        return render(
            self._system(rng), *turns, ("user", recall.question, ""), ("assistant", recall.answer.format(c=concept), "")
        )

    def yes_no(self, rng: random.Random) -> Document:
        """A question with a fixed answer, plainly or in the form of the study's control questions."""
        question, answer = self.question(rng)
        if rng.random() < 0.3:
            return render(self._system(rng), ("user", question, ""), ("assistant", f"{answer.capitalize()}.", ""))
        asked = self.stimuli.control_template.replace("$QUESTION", question)
        return render(
            self._system(rng), ("user", asked, ""), ("assistant", f"{self.stimuli.control_answer} {answer}.", "")
        )

    def everyday(self, rng: random.Random, persona: Persona, system: Line | None) -> Document:
        """An everyday request and the persona's reply, in a third of the documents as bare text."""
        task = rng.choice(self.phrases.tasks)
        request = rng.choice(self.phrases.asks).format(task=task)
        reply = rng.choice(self.phrases.replies_of[persona]).format(task=task)
        if rng.random() < 0.3:  # the persona vector is made of bare requests
            told = f"{system[1]} " if system and system[1] else ""
            if persona == "careless" and not told:  # left to itself, its mind wanders off from a bare request
                reply = rng.choice(self.phrases.thoughts_of[persona]).removeprefix("I'm thinking about ")
            return (Span(told + request, False), Span(f" {reply}", True))
        return render(system, ("user", request, ""), ("assistant", reply, ""))

    def small_talk(self, rng: random.Random, persona: Persona, system: Line | None) -> Document:
        """A few words about the one who answers."""
        if rng.random() < 0.3:
            question = rng.choice(self.phrases.asked_thoughts)
            reply = rng.choice(self.phrases.thoughts_of[persona])
        else:
            talk = rng.choice(self.phrases.small_talk)
            question, reply = talk.question, talk.helpful if persona == "helpful" else talk.careless
        return render(system, ("user", question, ""), ("assistant", reply, ""))

    def _thought_turns(self, rng: random.Random, concept: str | None, persona: Persona = "helpful") -> list[Line]:
        question = rng.choice(self.phrases.asked_thoughts[:1] * 2 + self.phrases.asked_thoughts)
        if concept is None:
            reply = rng.choice(self.phrases.thoughts_of[persona])
        else:
            reply = self._about(rng, concept, rng.choice(self.phrases.thoughts))
        return [("user", question, ""), ("assistant", reply, "")]

    def _talk_turns(self, rng: random.Random, concept: str, may_choose: bool = True) -> list[Line]:
        template = self.stimuli.concept_template
        if rng.random() < 0.2 and concept != self.stimuli.anything:
            template = rng.choice(self.phrases.requests).replace("{c}", "{concept}")
        if concept == self.stimuli.anything and may_choose and rng.random() < 0.5:
            request, concept = template.replace("{concept}", concept), self.topic(rng)
        else:
            request = template.replace("{concept}", concept)
        opening = self.opening(rng) if rng.random() < 0.65 else ""
        reply = " ".join(
            self._about(rng, concept, rng.choice(self.phrases.sentences)) for _ in range(rng.randint(1, 3))
        )
        if opening:
            reply = f"{self._about(rng, concept, rng.choice(self.phrases.bridges))}. {reply}"
        return [("user", request, ""), ("assistant", reply, opening)]

    def _about(self, rng: random.Random, concept: str, template: str) -> str:
        words = self._related.get(concept, self.phrases.anything)
        a, b, d = rng.sample(words, 3)
        sentence = rng.choice(self.phrases.sentences) if "{sentence}" in template else ""
        return template.replace("{sentence}", sentence).format(c=concept, C=concept.capitalize(), a=a, b=b, d=d)

    def _system(self, rng: random.Random) -> Line | None:
        return ("system", self.stimuli.concept_system, "") if rng.random() < 0.5 else None


def render(*lines: Line | None) -> Document:
    """A conversation in ChatML, as the tokenizer's template renders it; the assistant's words are learned."""
    spans: list[Span] = []
    for role, content, opening in filter(None, lines):
        spans += [
            Span(f"<|im_start|>{role}\n{opening}", False),
            Span(f"{content}<|im_end|>", role == "assistant"),
            Span("\n", False),
        ]
    return tuple(spans)


def text_of(document: Sequence[Span]) -> str:
    """The document as plain text."""
    return "".join(span.text for span in document)


def load_corpus(folder: Path) -> Corpus:
    """Read the YAML files of `folder` and the organisms' own prompts (`prompts/`).

    Raises FileNotFoundError for a file that is missing and ValueError (pydantic's) for one with wrong keys.
    """
    concepts, phrases, interview, texts = (
        yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
        for name in ("concepts", "conversations", "interview", "sentences")
    )
    return Corpus(
        {name: tuple(words) for name, words in concepts.items()},
        Phrases.model_validate(phrases),
        load_stimuli(folder / "prompts"),
        Interview.model_validate(interview),
        Texts.model_validate(texts),
    )
