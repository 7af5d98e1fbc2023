"""The study's prompts: read from YAML, composed into conversations, kept byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

Role = Literal["system", "user", "assistant"]
Text = Annotated[str, Field(min_length=1)]

REQUIRED_PROMPTS = ("no_info", "info", "inaccurate_location", "lorem_ipsum")


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


class Stimuli(BaseModel):
    """Every prompt of the study.

    labels: a prompt's name in tables and figures, where it is not its key with spaces.
    detection: by prompt name, each ending in the beginning of a reply (`The answer is`).
    content: the same turn 1 with a longer beginning of the reply, for what the injected thought is about.
    controls: in the order of the files, the post's 16 questions (group `expected_no`) first.
    top_of_mind: the small talk that shows what a vector does; every turn is steered.
    yes, no: the answers whose probability is read, each one token after the beginning of the reply.
    yes_variants: what the logit lens sums as "yes".
    anything: the concept that stands for no concept in particular, on the negative side of a concept vector.
    """

    model_config = ConfigDict(frozen=True)

    labels: dict[str, str] = {}
    detection: dict[str, Conversation]
    content: dict[str, Conversation]
    controls: tuple[ControlQuestion, ...]
    top_of_mind: Conversation
    yes: str
    no: str
    yes_variants: tuple[str, ...]
    anything: str
    control_prompt: str
    control_template: str
    control_answer: str
    concept_system: str
    concept_template: str

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


def load_stimuli(folder: Path) -> Stimuli:
    """Read detection, controls, content, top_of_mind and concept.yaml from `folder`.

    Raises StimuliError, in one line, for a file that is missing, is no YAML or has a wrong, missing or unknown key.
    """
    detection_file = _read(folder / "detection.yaml", _DetectionFile)
    controls_file = _read(folder / "controls.yaml", _ControlsFile)
    content_file = _read(folder / "content.yaml", _ContentFile)
    top_of_mind_file = _read(folder / "top_of_mind.yaml", _TopOfMindFile)
    concept_file = _read(folder / "concept.yaml", _ConceptFile)

    detection = {name: detection_file.conversation(name) for name in detection_file.first_turn}
    for prompt in content_file.prompts:
        _require_prompt(folder / "content.yaml", "prompts", prompt, detection)
    _require_prompt(folder / "controls.yaml", "prompt", controls_file.prompt, detection)
    return Stimuli(
        labels=detection_file.labels,
        detection=detection,
        content={
            prompt: (*detection[prompt][:-1], Turn(role="assistant", content=content_file.answer))
            for prompt in content_file.prompts
        },
        controls=tuple(
            ControlQuestion(question=question, group=name, expected=group.expected)
            for name, group in controls_file.groups.items()
            for question in group.questions
        ),
        top_of_mind=(
            Turn(role="user", content=top_of_mind_file.user, injected=True),
            Turn(role="assistant", content=top_of_mind_file.answer, injected=True),
        ),
        yes=detection_file.yes,
        no=detection_file.no,
        yes_variants=detection_file.yes_variants,
        anything=concept_file.anything,
        control_prompt=controls_file.prompt,
        control_template=controls_file.template,
        control_answer=controls_file.answer,
        concept_system=concept_file.system,
        concept_template=concept_file.user,
    )


def _turn_1(conversation: Conversation) -> Conversation:
    """The conversation up to the last injected turn."""
    last = max(index for index, turn in enumerate(conversation) if turn.injected)
    return conversation[: last + 1]


def _require_prompt(path: Path, key: str, prompt: str, detection: Mapping[str, Conversation]) -> None:
    if prompt not in detection:
        raise StimuliError(f"{path}: {key}: no prompt {prompt!r} in detection.yaml; it has {', '.join(detection)}")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _DetectionFile(_File):
    source: Text
    labels: dict[str, Text] = {}
    paragraphs: dict[str, Text]
    first_turn: dict[str, Annotated[list[str], Field(min_length=1)]]
    system: str
    first_reply: Text
    second_turn: Text
    answer: Text
    yes: Text
    no: Text
    yes_variants: Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _complete(self) -> _DetectionFile:
        for name in REQUIRED_PROMPTS:
            if name not in self.first_turn:
                raise ValueError(f"first_turn lacks the prompt {name!r}, which the experiments compare")
        for name, paragraphs in self.first_turn.items():
            for paragraph in paragraphs:
                if paragraph not in self.paragraphs:
                    raise ValueError(f"first_turn.{name} names {paragraph!r}, which is not one of the paragraphs")
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
