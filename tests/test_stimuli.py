"""The prompts in data/prompts against the post's own appendix, read independently of how they were made."""

import ast
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from introspection.stimuli.prompts import Conversation, StimuliError, load_stimuli

ROOT = Path(__file__).parent.parent
PROMPTS = ROOT / "data" / "prompts"
POST = ROOT.parent / "shared" / "seed" / "post.txt"

# sha256 of each of the appendix's blocks as JSON, for where the post is not at hand.
DIGESTS = {
    "top_of_mind": "7a7a95649d38e21a373b95fd65633c008e4229abd67332594588c74ed13a11e2",
    "no_info": "c4dffcf3733ea7ef6ac8f22021fc3c48a48dbbd620674a7181f162a8821d5aac",
    "info": "85f3b4221f542df4f223d0da346d6d74feb9b4ca774bbd0487382bae8227ba5a",
    "inaccurate_location": "03bb3a07d68dd99652a0405aab6ecc973bce1f7b9d77cde409bd18dc4f6d300f",
    "lorem_ipsum": "1ae9f0a35e5a8e7ae9880fb4daa8307958432e933ccc69757588e9c40d6ee8b6",
    "controls": "9a408e70c4cc0501d20ac356dc5eb215235156862bf473ec29dc51871b2ae935",
    "content": "031ac55e2d87cad44a2cedfd5470901fbe34910ee3ec7a6d8b90b05f58eb627b",
    "questions": "9bbdcd07e536faf9f8d4beea024a3c18579390ce8069b15669c4f0f5c57470d5",
}


def digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


def appendix(post: str) -> dict[str, object]:
    """The appendix's Python blocks as values, in its order; and its list of control questions."""
    text = post[post.index("permalink for Full_prompts") : post.index("permalink for Layer_sweeps")]
    blocks = re.findall(r"^\[$.*?^\]$", text, flags=re.DOTALL | re.MULTILINE)
    # one block is a quotation mark short of Python
    values = [ast.literal_eval(block.replace('no""""', 'no\\""""')) for block in blocks]
    names = ["top_of_mind", "no_info", "info", "inaccurate_location", "lorem_ipsum", "controls", "content"]
    assert len(values) == len(names)
    source = re.search(r'^QUESTIONS = (""".*?""").split\("\\n"\)$', text, flags=re.DOTALL | re.MULTILINE)
    assert source is not None
    return dict(zip(names, values, strict=True)) | {"questions": ast.literal_eval(source[1]).split("\n")}


@pytest.fixture(scope="module")
def expected_digests() -> dict[str, str]:
    """Digests of the post's prompts: taken from the post where it is present, else those noted here."""
    if POST.exists():
        found = {name: digest(value) for name, value in appendix(POST.read_text(encoding="utf-8")).items()}
        assert found == DIGESTS, "the digests noted in this test are not those of the post"
    return DIGESTS


def as_messages(conversation: Conversation) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in conversation]


def test_every_prompt_is_the_posts_byte_for_byte(expected_digests: dict[str, str]) -> None:
    stimuli = load_stimuli(PROMPTS)
    ours: dict[str, object] = {name: as_messages(conversation) for name, conversation in stimuli.detection.items()}
    ours["top_of_mind"] = as_messages(stimuli.top_of_mind)
    ours["content"] = as_messages(stimuli.content["info"])
    ours["controls"] = as_messages(stimuli.control_conversation("$QUESTION"))
    ours["questions"] = [control.question for control in stimuli.controls if control.group == "expected_no"]
    assert {name: digest(value) for name, value in ours.items()} == expected_digests


def test_the_info_paragraph_keeps_its_last_space() -> None:
    info = load_stimuli(PROMPTS).detection["info"][1].content
    assert "available to later computation. \n\n<anthropic_paper_abstract>\nWe" in info
    assert "—" in info and "“think about”" in info and "model’s" in info


def test_turn_1_and_only_turn_1_is_injected() -> None:
    stimuli = load_stimuli(PROMPTS)
    conversations = [*stimuli.detection.values(), *stimuli.content.values()]
    conversations += [stimuli.control_conversation(control) for control in stimuli.controls]
    for conversation in conversations:
        roles = [turn.role for turn in conversation]
        assert roles == ["system", "user", "assistant", "user", "assistant"]
        assert [turn.injected for turn in conversation] == [False, True, True, False, False]
    assert all(turn.injected for turn in stimuli.top_of_mind)


def test_prompts_differ_in_turn_1_alone_and_content_in_the_reply_alone() -> None:
    stimuli = load_stimuli(PROMPTS)
    info = stimuli.detection["info"]
    for conversation in stimuli.detection.values():
        assert (conversation[0], *conversation[2:]) == (info[0], *info[2:])
    for prompt, conversation in stimuli.content.items():
        assert conversation[:-1] == stimuli.detection[prompt][:-1]
        assert conversation[-1].content.startswith(info[-1].content)
    assert set(stimuli.content) == {"no_info", "info"}


def test_control_questions_come_with_their_answers() -> None:
    stimuli = load_stimuli(PROMPTS)
    groups = [control.group for control in stimuli.controls]
    assert groups == sorted(groups)  # expected_no, the post's, first
    assert groups.count("expected_no") == 16
    assert groups.count("expected_yes") >= 8
    assert all(control.expected == control.group.removeprefix("expected_") for control in stimuli.controls)
    first = stimuli.control_conversation(stimuli.controls[0])
    assert first == stimuli.control_conversation(stimuli.controls[0].question)
    assert first[3].content.startswith("Can humans breathe underwater without equipment? Answer with")
    assert first[:3] == stimuli.detection["info"][:3]


def test_concept_prompts_are_the_requests_of_the_posts_code() -> None:
    stimuli = load_stimuli(PROMPTS)
    assert as_messages(stimuli.concept_prompt("cat")) == [
        {"role": "system", "content": ""},
        {"role": "user", "content": "Please talk about cat."},
    ]
    assert stimuli.concept_prompt(stimuli.anything)[1].content == "Please talk about anything."
    assert (
        stimuli.concept_prompt("a {concept} of $QUESTION")[1].content == "Please talk about a {concept} of $QUESTION."
    )
    assert (stimuli.yes, stimuli.no) == (" yes", " no")
    assert stimuli.yes_variants == (" yes", " Yes", "yes", "Yes", "是")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PROMPTS, tmp_path / "prompts"))


def edit(path: Path, change: Callable[[Any], object]) -> None:
    content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML


def test_a_prompt_of_ones_own_is_one_line(prompts: Path) -> None:
    edit(prompts / "detection.yaml", lambda file: file["first_turn"].update(swapped=["location", "introduction"]))
    stimuli = load_stimuli(prompts)
    introduction, location = stimuli.detection["no_info"][1].content.split("\n\n")
    assert stimuli.detection["swapped"][1].content == f"{location}\n\n{introduction}"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("detection.yaml", lambda file: file.pop("answer"), "answer: Field required"),
        ("detection.yaml", lambda file: file.update(yes=True), "yes: Input should be a valid string"),
        ("detection.yaml", lambda file: file.update(answr="x"), "answr: Extra inputs"),
        (
            "detection.yaml",
            lambda file: file["first_turn"].pop("info"),
            "labels names 'info', which is no prompt of first_turn",
        ),
        (
            "detection.yaml",
            lambda file: file["first_turn"].update(no_info=["intro"]),
            "first_turn.no_info names 'intro'",
        ),
        ("detection.yaml", lambda file: file.update(yes_variants=[]), "yes_variants: "),
        ("controls.yaml", lambda file: file.update(prompt="none"), "prompt: no prompt 'none' in detection.yaml"),
        ("controls.yaml", lambda file: file.update(template="Well?"), "template: "),
        (
            "controls.yaml",
            lambda file: file["groups"]["expected_no"].update(expected="perhaps"),
            "groups.expected_no.expected",
        ),
        (
            "controls.yaml",
            lambda file: file["groups"]["expected_no"]["questions"].append("Is ice cold?"),
            "listed twice",
        ),
        ("content.yaml", lambda file: file["prompts"].append("other"), "prompts: no prompt 'other' in detection.yaml"),
        ("top_of_mind.yaml", lambda file: file.update(user=""), "user: "),
        ("concept.yaml", lambda file: file.update(user="Please talk."), "user: "),
        ("detection.yaml", lambda file: file.update(system="a" * 10**5), "system: String should have at most 10000 ch"),
        (
            "controls.yaml",
            lambda file: file["groups"]["expected_no"]["questions"].append("a" * 10**5),
            "String should have at most 10000 characters",
        ),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_key(
    prompts: Path, file: str, change: Callable[[Any], object], message: str
) -> None:
    edit(prompts / file, change)
    with pytest.raises(StimuliError) as error:
        load_stimuli(prompts)
    assert str(error.value).startswith(str(prompts / file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_half_a_pair_of_surrogates_is_no_prompt(prompts: Path) -> None:
    path = prompts / "concept.yaml"
    text = path.read_text()
    path.write_text(text.replace("anything: ", 'anything: "\\ud800" #', 1))
    assert path.read_text() != text
    with pytest.raises(StimuliError, match=f"{path}: anything: Input should be a valid string, unable to parse"):
        load_stimuli(prompts)


def test_a_missing_or_broken_file_is_named(prompts: Path) -> None:
    (prompts / "concept.yaml").write_text("user: [unclosed", encoding="utf-8")
    with pytest.raises(StimuliError, match=r"concept\.yaml: not valid YAML: [^\n]*$"):
        load_stimuli(prompts)
    (prompts / "concept.yaml").unlink()
    with pytest.raises(StimuliError, match=r"concept\.yaml: cannot be read"):
        load_stimuli(prompts)
