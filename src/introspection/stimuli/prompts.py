"""The study's prompts: read from YAML, composed into conversations, kept byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from introspection.files import read_yaml
from introspection.stimuli.battery import Battery, BatteryItem
from introspection.stimuli.files import StimuliError, StimuliFile, Text
from introspection.stimuli.where import Where, WhereItem
from introspection.stimuli.which import Arm, WhichFile

Role = Literal["system", "user", "assistant"]


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
        return read_yaml(self._folder / "detection.yaml", _DetectionFile, StimuliError)

    @cached_property
    def _controls(self) -> _ControlsFile:
        return read_yaml(self._folder / "controls.yaml", _ControlsFile, StimuliError)

    @cached_property
    def _concept(self) -> _ConceptFile:
        return read_yaml(self._folder / "concept.yaml", _ConceptFile, StimuliError)

    @cached_property
    def detection(self) -> dict[str, Conversation]:
        """By prompt name, each ending in the beginning of a reply (`The answer is`)."""
        return {name: self._detection.conversation(name) for name in self._detection.first_turn}

    @property
    def labels(self) -> dict[str, str]:
        """What tables and figures call a prompt, where its name does not say it."""
        return self._detection.labels

    @property
    def descriptions(self) -> dict[str, str]:
        """What the method says of a prompt, after its name; a prompt may have none."""
        return self._detection.descriptions

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
        file = read_yaml(path, _ContentFile, StimuliError)
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

    @property
    def expected(self) -> dict[str, str]:
        """The right answer to each control question, yes or no."""
        return {question.question: question.expected for question in self.controls}

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
        file = read_yaml(self._folder / "top_of_mind.yaml", _TopOfMindFile, StimuliError)
        return (
            Turn(role="user", content=file.user, injected=True),
            Turn(role="assistant", content=file.answer, injected=True),
        )

    def neutral(self) -> tuple[str, ...]:
        """Passages of everyday prose, plain text that breaks off; `load_stimuli` does not ask for them."""
        return read_yaml(self._folder / "neutral.yaml", _NeutralFile, StimuliError).passages

    def battery(self) -> Battery:
        """The battery of questions; `load_stimuli` does not ask for it, as only the study has one."""
        path = self._folder / "battery.yaml"
        battery = read_yaml(path, Battery, StimuliError)
        for prompt in battery.prompts:
            self._require_prompt(path, "prompts", prompt)
        return battery

    def battery_conversation(self, battery: Battery, study: Conversation, item: BatteryItem) -> Conversation:
        """Turn 1 of a conversation, injected, then a question of the battery in its format."""
        text = battery.formats[item.format].template.replace("$QUESTION", item.text)
        return (
            *_turn_1(study),
            Turn(role="user", content=text),
            Turn(role="assistant", content=battery.answer),
        )

    def framing(self) -> FramingFile:
        """What turn 1 may say about injections, and what stands between; as `battery`."""
        path = self._folder / "framing.yaml"
        file = read_yaml(path, FramingFile, StimuliError)
        for prompt in file.supports.values():
            self._require_prompt(path, "supports", prompt)
        return file

    def framed_conversation(self, prompt: str, frame: Frame) -> Conversation:
        """The conversation of a prompt whose turn 1 begins and ends as the frame says."""
        return reframed(self.detection[prompt], frame)

    def written(self) -> WrittenFile:
        """Sentences that name a concept in turn 1, and the prompts that they are written into; as `battery`."""
        path = self._folder / "written.yaml"
        file = read_yaml(path, WrittenFile, StimuliError)
        for prompt in file.prompts:
            self._require_prompt(path, "prompts", prompt)
        return file

    def written_conversation(self, prompt: str, sentence: str, concept: str) -> Conversation:
        """The conversation of a prompt with a sentence about `concept` at the end of the user's turn 1."""
        return extended(self.detection[prompt], sentence.replace("{concept}", concept))

    def which(self) -> WhichFile:
        """Questions with a numbered list of concepts, and the prompts after which they are asked; as `battery`."""
        path = self._folder / "which.yaml"
        file = read_yaml(path, WhichFile, StimuliError)
        for prompt in (*(arm.prompt for arm in file.arms), *file.naming.prompts):
            self._require_prompt(path, "prompt", prompt)
        return file

    def which_conversation(self, file: WhichFile, arm: Arm, words: Sequence[str]) -> Conversation:
        """A question of an arm with a list of `words`, in that order, in the turn where the arm has it."""
        numbered, question = file.numbered(words), file.questions[arm.question]
        turns = _turn_1(self.detection[arm.prompt])
        if arm.list == "turn_1":
            turns = extended(turns, file.turn_1.replace("$LIST", numbered))
        text = (question.turn_1 or "") if arm.list == "turn_1" else question.turn_2.replace("$LIST", numbered)
        return (*turns, Turn(role="user", content=text), Turn(role="assistant", content=file.answer))

    def where(self) -> Where:
        """Texts into a part of which something is injected, and the questions which part; as `battery`."""
        return read_yaml(self._folder / "where.yaml", Where, StimuliError)

    def where_conversation(self, where: Where, item: WhereItem) -> Conversation:
        """A text at the end of turn 1, the system turn and first reply as ever, then a question about its parts."""
        return (
            *self.where_reading(where, where.text(item.text)),
            Turn(role="user", content=where.question(item)),
            Turn(role="assistant", content=where.answer),
        )

    def where_reading(self, where: Where, text: str) -> Conversation:
        """The turns before a question about a text: it is read, and replied to as ever."""
        return (
            Turn(role="system", content=self._detection.system),
            Turn(role="user", content=f"{where.introduction}\n\n{text}", injected=True),
            Turn(role="assistant", content=self._detection.first_reply, injected=True),
        )

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


def reframed(conversation: Conversation, frame: Frame) -> Conversation:
    """The conversation with another first and last paragraph of what the user says while the vector is injected.

    Raises StimuliError where there is nothing between the two.
    """
    place = next(place for place, turn in enumerate(conversation) if turn.injected)
    turn = conversation[place]
    _, *between, _ = turn.content.split("\n\n")
    if not between:
        raise StimuliError("framing.yaml: supports: a prompt of which turn 1 has two paragraphs has none to be framed")
    framed = turn.model_copy(update={"content": "\n\n".join((frame.opening, *between, frame.closing))})
    return (*conversation[:place], framed, *conversation[place + 1 :])


def extended(conversation: Conversation, text: str) -> Conversation:
    """The conversation with one more paragraph at the end of what the user says while the vector is injected."""
    place = next(place for place, turn in enumerate(conversation) if turn.injected)
    turn = conversation[place]
    longer = turn.model_copy(update={"content": f"{turn.content}\n\n{text}"})
    return (*conversation[:place], longer, *conversation[place + 1 :])


class _DetectionFile(StimuliFile):
    source: Text
    paragraphs: dict[str, Text]
    first_turn: Annotated[dict[str, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    labels: dict[str, Text] = Field(default_factory=dict)
    descriptions: dict[str, Text] = Field(default_factory=dict)
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
        for key in ("labels", "descriptions"):
            for name in getattr(self, key):
                if name not in self.first_turn:
                    raise ValueError(f"{key} names {name!r}, which is no prompt of first_turn")
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


class _ControlGroup(StimuliFile):
    source: Text
    expected: Literal["yes", "no"]
    questions: Annotated[list[Text], Field(min_length=1)]


class _ControlsFile(StimuliFile):
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


class _ContentFile(StimuliFile):
    source: Text
    prompts: Annotated[list[str], Field(min_length=1)]
    answer: Text


class WrittenFile(StimuliFile):
    """The file `written.yaml`: `{concept}` in each sentence stands for what is named, `neutral` names nothing."""

    source: Text
    prompts: Annotated[list[str], Field(min_length=1)]
    neutral: Text
    sentences: Annotated[list[Annotated[str, Field(pattern=r"\{concept\}")]], Field(min_length=1)]


class Frame(StimuliFile):
    """What the user's turn 1 begins and ends with."""

    opening: Text
    closing: Text


class FramingFile(StimuliFile):
    """The file `framing.yaml`: frames by name, and by name the prompts whose middle stands between."""

    source: Text
    supports: Annotated[dict[str, str], Field(min_length=1)]
    frames: Annotated[dict[str, Frame], Field(min_length=2)]


class _TopOfMindFile(StimuliFile):
    source: Text
    user: Text
    answer: Text


class _NeutralFile(StimuliFile):
    source: Text
    passages: Annotated[tuple[Text, ...], Field(min_length=16, strict=False)]


class _ConceptFile(StimuliFile):
    source: Text
    system: str
    user: Annotated[str, Field(pattern=r"\{concept\}")]
    anything: Text
