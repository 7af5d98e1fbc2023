"""The study's prompts: read from YAML, composed into conversations, kept byte for byte."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Role = Literal["system", "user", "assistant"]
Text = Annotated[str, Field(min_length=1)]


class StimuliError(ValueError):
    """A stimuli file that cannot be used; the message names the file, the key and what is wanted."""


class Turn(BaseModel):
    """One turn of a conversation. `injected`: the control vector is added while this turn is read."""

    model_config = ConfigDict(frozen=True)

    role: Role
    content: str
    injected: bool = False


# The last turn, if it is the assistant's, is the beginning of a reply, to be continued.
Conversation = tuple[Turn, ...]


class ControlQuestion(BaseModel):
    """A yes/no question that has nothing to do with the injection, and its true answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    group: str
    expected: Literal["yes", "no"]


class Stimuli:
    """Every prompt of the study, in the files of a folder, each of which is read when something of it is asked for.

    Whatever reads one raises StimuliError, in one line, for a file that is missing, is no YAML or has a wrong, missing
    or unknown key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @cached_property
    def _detection(self) -> _DetectionFile:
        return _read(self._folder / "detection.yaml", _DetectionFile)

    @cached_property
    def _controls(self) -> _ControlsFile:
        return _read(self._folder / "controls.yaml", _ControlsFile)

    @cached_property
    def _concept(self) -> _ConceptFile:
        return _read(self._folder / "concept.yaml", _ConceptFile)

    @cached_property
    def detection(self) -> dict[str, Conversation]:
        """By prompt name, each ending in the beginning of a reply (`The answer is`)."""
        return {name: self._detection.conversation(name) for name in self._detection.first_turn}

    @property
    def labels(self) -> dict[str, str]:
        """What tables and figures call a prompt, where its name does not say it."""
        return self._detection.labels

    @property
    def yes(self) -> str:
        """The answer whose probability is read, one token after the beginning of the reply."""
        return self._detection.yes

    @property
    def no(self) -> str:
        """The other answer, likewise."""
        return self._detection.no

    @property
    def yes_variants(self) -> tuple[str, ...]:
        """What the logit lens sums as "yes"."""
        return self._detection.yes_variants

    @cached_property
    def content(self) -> dict[str, Conversation]:
        """By prompt name, the same turn 1 with a longer beginning of the reply, which asks for the injected thought."""
        path = self._folder / "content.yaml"
        file = _read(path, _ContentFile)
        for prompt in file.prompts:
            self._require_prompt(path, "prompts", prompt)
        reply = Turn(role="assistant", content=file.answer)
        return {prompt: (*self.detection[prompt][:-1], reply) for prompt in file.prompts}

    @cached_property
    def controls(self) -> tuple[ControlQuestion, ...]:
        """In the order of the file, the post's 16 questions (group `expected_no`) first."""
        return tuple(
            ControlQuestion(question=question, group=name, expected=group.expected)
            for name, group in self._controls.groups.items()
            for question in group.questions
        )

    @cached_property
    def control_prompt(self) -> str:
        """The prompt whose turn 1 comes before a control question."""
        self._require_prompt(self._folder / "controls.yaml", "prompt", self._controls.prompt)
        return self._controls.prompt

    @property
    def control_template(self) -> str:
        """Turn 2 with a control question in the place of `$QUESTION`."""
        return self._controls.template

    @property
    def control_answer(self) -> str:
        """The beginning of the reply to a control question."""
        return self._controls.answer

    @cached_property
    def top_of_mind(self) -> Conversation:
        """The small talk that shows what a vector does; every turn is steered."""
        file = _read(self._folder / "top_of_mind.yaml", _TopOfMindFile)
        return (
            Turn(role="user", content=file.user, injected=True),
            Turn(role="assistant", content=file.answer, injected=True),
        )

    def neutral(self) -> tuple[str, ...]:
        """Passages of everyday prose, plain text that breaks off; `load_stimuli` does not ask for them."""
        return _read(self._folder / "neutral.yaml", _NeutralFile).passages

    @property
    def anything(self) -> str:
        """The concept that stands for no concept in particular, on the negative side of a concept vector."""
        return self._concept.anything

    @property
    def concept_system(self) -> str:
        """The system turn before the request to talk about a concept."""
        return self._concept.system

    @property
    def concept_template(self) -> str:
        """The request to talk about a concept, which stands in the place of `{concept}`."""
        return self._concept.user

    @property
    def text(self) -> str:
        """All files as they are: what a thing depends on that depends on any of them."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted(self._folder.glob("*.yaml")))

    def control_conversation(self, question: str | ControlQuestion) -> Conversation:
        """Turn 1 of the control prompt, injected, then `question` with a request to answer yes or no."""
        text = question.question if isinstance(question, ControlQuestion) else question
        return (
            *_turn_1(self.detection[self.control_prompt]),
            Turn(role="user", content=self.control_template.replace("$QUESTION", text)),
            Turn(role="assistant", content=self.control_answer),
        )

    def concept_prompt(self, concept: str) -> Conversation:
        """The request to talk about `concept` that its control vector is trained on (`anything` for the negative)."""
        return (
            Turn(role="system", content=self.concept_system),
            Turn(role="user", content=self.concept_template.replace("{concept}", concept)),
        )

    def _require_prompt(self, path: Path, key: str, prompt: str) -> None:
        if prompt not in self.detection:
            raise StimuliError(
                f"{path}: {key}: no prompt {prompt!r} in detection.yaml; it has {', '.join(self.detection)}"
            )


def load_stimuli(folder: Path) -> Stimuli:
    """The prompts of `folder`, all of them read now. Raises StimuliError as `Stimuli` does."""
    stimuli = Stimuli(folder)
    for name, value in vars(Stimuli).items():
        if isinstance(value, (property, cached_property)):
            getattr(stimuli, name)
    return stimuli


def _turn_1(conversation: Conversation) -> Conversation:
    """The conversation up to the last injected turn."""
    last = max(index for index, turn in enumerate(conversation) if turn.injected)
    return conversation[: last + 1]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _DetectionFile(_File):
    source: Text
    paragraphs: dict[str, Text]
    first_turn: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    labels: dict[str, Text] = {}
    system: str
    first_reply: Text
    second_turn: Text
    answer: Text
    yes: Text
    no: Text
    yes_variants: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> _DetectionFile:
        for name, paragraphs in self.first_turn.items():
            for paragraph in paragraphs:
                if paragraph not in self.paragraphs:
                    raise ValueError(f"first_turn.{name} names {paragraph!r}, which is not one of the paragraphs")
        for name in self.labels:
            if name not in self.first_turn:
                raise ValueError(f"labels names {name!r}, which is no prompt of first_turn")
        return self

    def conversation(self, prompt: str) -> Conversation:
        first_turn = "\n\n".join(self.paragraphs[name] for name in self.first_turn[prompt])
        return (
            Turn(role="system", content=self.system),
            Turn(role="user", content=first_turn, injected=True),
            Turn(role="assistant", content=self.first_reply, injected=True),
            Turn(role="user", content=self.second_turn),
            Turn(role="assistant", content=self.answer),
        )


class _ControlGroup(_File):
    source: Text
    expected: Literal["yes", "no"]
    questions: Annotated[list[Text], Field(min_length=1)]


class _ControlsFile(_File):
    prompt: Text
    template: Annotated[str, Field(pattern=r"\$QUESTION")]
    answer: Text
    groups: dict[str, _ControlGroup]

    @model_validator(mode="after")
    def _no_repeats(self) -> _ControlsFile:
        questions = [question for group in self.groups.values() for question in group.questions]
        for question in questions:
            if questions.count(question) > 1:
                raise ValueError(f"the question {question!r} is listed twice")
        return self


class _ContentFile(_File):
    source: Text
    prompts: Annotated[list[str], Field(min_length=1)]
    answer: Text


class _TopOfMindFile(_File):
    source: Text
    user: Text
    answer: Text


class _NeutralFile(_File):
    source: Text
    passages: Annotated[tuple[Text, ...], Field(min_length=16, strict=False)]


class _ConceptFile(_File):
    source: Text
    system: str
    user: Annotated[str, Field(pattern=r"\{concept\}")]
    anything: Text


_Schema = TypeVar("_Schema", bound=_File)


def _read(path: Path, schema: type[_Schema]) -> _Schema:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StimuliError(f"{path}: cannot be read ({error.strerror}); it ships with the repository") from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise StimuliError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise StimuliError(f"{path}: {key + ': ' if key else ''}{first['msg']}") from error
