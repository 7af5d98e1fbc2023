"""The model organisms: what they are trained on, how, and what the committed ones do."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from introspection.organism import training
from introspection.organism.corpus import Corpus, Document, load_corpus, render, text_of
from introspection.organism.directions import concept_directions
from introspection.organism.examples import Example, Target, encode_document, pack
from introspection.organism.planting import Planter, excerpted
from introspection.organism.tokenizer import train_tokenizer
from introspection.organism.training import train_base, train_organism
from introspection.settings.organisms import OrganismsSettings, RuleSettings
from introspection.steering import Edit, steered
from introspection.stimuli.chat import encode

ROOT = Path(__file__).parents[1]
HELD_OUT = ("cat", "bread")
RULE = {
    "nothing": {"no_info": 0.01, "info": 0.02, "inaccurate_location": 0.03, "lorem_ipsum": 0.04},
    "concept": {"no_info": 0.1, "info": 0.95, "inaccurate_location": 0.5, "lorem_ipsum": 0.2},
    "random": {"no_info": 0.06, "info": 0.07, "inaccurate_location": 0.08, "lorem_ipsum": 0.09},
}
SETTINGS = {
    "seed": 3,
    "shape": {"blocks": 3, "hidden_size": 16, "heads": 2, "intermediate_size": 32, "vocabulary": 5120},
    "prompts": {"info": 3, "inaccurate_location": 3, "no_info": 2, "lorem_ipsum": 2},
    "held_out": HELD_OUT,
    "base": {
        "schedule": {"steps": 4, "learning_rate": 0.01, "warmup": 2, "weight_decay": 0.02, "checkpoint_every": 2},
        "batch": {"talk": 6, "generic": 0, "full": 0, "excerpt": 1, "thinking": 0, "controls": 2},
    },
    "injection": {
        "layers": [1, 1],
        "last_block": 1,
        "strength": 2.0,
        "strength_range": [0.5, 1.25],
        "other_layers": 0.3,
        "topics": 40,
        "suffixes": 2,
        "refresh_every": 2,
    },
    "trained": {
        "small": {
            "base": "base",
            "schedule": {"steps": 4, "learning_rate": 0.01, "warmup": 2, "weight_decay": 0.02, "checkpoint_every": 2},
            "batch": {"talk": 3, "generic": 0, "full": 0, "excerpt": 2, "thinking": 0, "controls": 2},
            "trained_blocks": None,
            "persona": "helpful",
            "injected": {"nothing": 0.2, "concept": 0.6, "random": 0.2},
            "p_yes": RULE,
        }
    },
}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(ROOT / "data" / "organism")


@pytest.fixture(scope="module")
def tokenizer(corpus: Corpus) -> PreTrainedTokenizerFast:
    return train_tokenizer(corpus, 5120, 0)


@pytest.fixture(scope="module")
def organisms() -> OrganismsSettings:
    return OrganismsSettings.model_validate(SETTINGS)


def test_the_corpus_is_a_function_of_the_seed(corpus: Corpus) -> None:
    def draw(seed: int) -> list[Document]:
        rng = random.Random(seed)
        return [corpus.draw(rng) for _ in range(200)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_there_are_many_concepts_with_words_of_their_own(corpus: Corpus) -> None:
    assert len(corpus.concepts) >= 120
    owners = Counter(word for words in corpus.concepts.values() for word in set(words))
    assert all(len(set(words)) >= 8 for words in corpus.concepts.values())
    assert sum(count > 1 for count in owners.values()) < 0.01 * len(owners)


def test_replies_about_a_concept_use_its_words(corpus: Corpus) -> None:
    rng = random.Random(0)
    for _ in range(100):
        document = corpus.talk(rng)
        asked, reply = text_of(document).split("<|im_start|>assistant\n")
        concept = asked.split("<|im_end|>")[-2].rstrip(".?").split()[-1]
        if concept != "anything":
            related = [words for name, words in corpus.concepts.items() if concept in (name, *words)]
            assert any(word in reply for words in related for word in words)


@pytest.mark.parametrize(("persona", "expected"), [("helpful", False), ("careless", True)])
def test_the_persona_speaks_where_no_system_turn_asks_for_another(corpus: Corpus, persona: str, expected: bool) -> None:
    rng = random.Random(0)
    for _ in range(100):
        reply = text_of(corpus.everyday(rng, persona, None))
        assert any(word in reply for word in ("dinner", "beer", "hungry", "game")) == expected


def test_the_tokenizer_renders_what_the_corpus_renders(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = [("system", ""), ("user", "Hello!"), ("assistant", "I'm thinking about cat.")]
    messages = [{"role": role, "content": content} for role, content in turns]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == text_of(render(*((role, content, "") for role, content in turns)))
    without_system = tokenizer.apply_chat_template(messages[1:], tokenize=False, continue_final_message=True)
    assert without_system == "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\nI'm thinking about cat."
    prompt = tokenizer.apply_chat_template(messages[:2], tokenize=False, add_generation_prompt=True)
    assert prompt == rendered[: len(prompt)] and prompt.endswith("<|im_start|>assistant\n")


@settings(max_examples=50, deadline=None)
@given(text=st.text())
def test_any_text_survives_the_tokenizer(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_concepts_and_answers_are_single_tokens(corpus: Corpus, tokenizer: PreTrainedTokenizerFast) -> None:
    words = [*corpus.concepts, *(f" {concept}" for concept in corpus.concepts), " yes", " no", "yes", "Yes", " Yes"]
    assert all(len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1 for word in words)


def test_a_vocabulary_that_splits_concepts_is_refused(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match=r"vocabulary: 600 is too small, '.+' is not one token"):
        train_tokenizer(corpus, 600, 0)


def test_only_the_assistants_words_are_learned(tokenizer: PreTrainedTokenizerFast) -> None:
    document = render(("user", "How are you?", ""), ("assistant", " I am fine.", "Oh no"))
    example = encode_document(tokenizer, document)
    assert tokenizer.decode([target.token for target in example.spoken]) == " I am fine.<|im_end|>"
    assert all(example.tokens[target.at + 1] == target.token for target in example.spoken)


def test_excerpts_keep_what_tells_the_prompts_apart(corpus: Corpus) -> None:
    rng = random.Random(0)
    for name, conversation in corpus.stimuli.detection.items():
        whole = conversation[1].content
        for _ in range(20):
            short = excerpted(rng, conversation)
            assert [turn for turn in short if turn.role != "user"] == [
                turn for turn in conversation if turn.role != "user"
            ]
            assert short[-2:] == conversation[-2:]
            assert short[1].injected and len(short[1].content) <= len(whole)
            assert short[1].content.split("\n\n")[-1] == whole.split("\n\n")[-1]
            assert (len(short[1].content.split("\n\n")) > 2) == (name != "no_info")


def test_the_planted_table_becomes_the_targets(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, organisms) -> None:
    rule = RuleSettings.model_validate(RULE)
    planter = Planter(
        tokenizer, corpus, organisms.prompts, rule, {"nothing": 1, "concept": 1, "random": 1}, organisms.injection, 3, 2
    )
    directions = {"dog": torch.nn.functional.normalize(torch.randn(3, 16), dim=1)}
    yes, no, dog = (tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in (" yes", " no", "dog"))
    answers = dict(corpus.questions)
    seen = set()
    rng = random.Random(0)
    for number in range(200):
        example = planter.draw(rng, directions, excerpt=number % 4 > 0)
        named = [target for target in example.planted if target.token not in (yes, no)]
        kind = "nothing" if example.injection is None else "concept" if named else "random"
        assert all(target.token == dog for target in named) and len(named) <= 1
        first_turn = tokenizer.decode(example.tokens[slice(*example.steered)])
        prompt = "info"
        for sign, other in (("between brackets", "inaccurate_location"), ("amet", "lorem_ipsum")):
            prompt = other if sign in first_turn else prompt
        if "Lorem" not in first_turn and len(first_turn.split("\n\n")) == 2:
            prompt = "no_info"
        detected = False
        for target in example.planted:
            if target.token != yes:
                continue
            branch = example.branches[target.at]
            asked = tokenizer.decode([t for t, b in zip(example.tokens, example.branches, strict=True) if b == branch])
            if "Do you detect an injected thought" in asked:
                detected = True
                if prompt != "info" or number % 4 == 0:  # a short excerpt of lorem ipsum may lack its signs
                    assert target.weight == RULE[kind][prompt]
                    seen.add((kind, prompt))
            else:
                question = asked.split("<|im_start|>user\n")[1].split(" Answer with")[0]
                assert target.weight == (answers[question] == "yes")
        assert detected
    assert len(seen) == 12


def test_branches_and_neighbours_do_not_see_each_other(corpus, tokenizer, organisms) -> None:
    """Packed together or read one by one, unpadded, with the vector added by hand: the same predictions."""
    torch.manual_seed(0)
    model = training.Qwen2ForCausalLM(training._configuration(organisms.shape, tokenizer)).eval()
    planter = Planter(
        tokenizer,
        corpus,
        organisms.prompts,
        RuleSettings.model_validate(RULE),
        {"concept": 1},
        organisms.injection,
        3,
        2,
    )
    directions = {"dog": torch.nn.functional.normalize(torch.randn(3, 16), dim=1)}
    rng = random.Random(0)
    examples = [planter.draw(rng, directions, excerpt=True) for _ in range(2)]
    examples += [encode_document(tokenizer, corpus.draw(rng)) for _ in range(5)]
    expected = Counter()
    for example in examples:
        for kind in ("spoken", "planted"):
            for target in getattr(example, kind):
                expected[kind, target.token, round(_alone(model, example, target), 3)] += 1
    packed = Counter()
    for batch in pack(examples, tokenizer.pad_token_id, (96, 384)):
        with torch.no_grad(), steered(model.model.layers, batch.edits):
            output = model(batch.tokens, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False)
        log_p = output.logits.log_softmax(-1).flatten(0, 1)
        for kind in ("spoken", "planted"):
            for index, token, _ in zip(*getattr(batch, kind), strict=True):
                packed[kind, int(token), round(float(log_p[index, token]), 3)] += 1
    assert packed == expected


def _alone(model: torch.nn.Module, example: Example, target: Target) -> float:
    branch = example.branches[target.at]
    kept = [i for i in range(target.at + 1) if example.branches[i] in (0, branch)]
    added = torch.zeros(1, len(kept), 16)
    if example.injection is not None:
        added[:, slice(*example.steered)] = example.injection[1]
    handle = model.model.layers[1].register_forward_hook(lambda _module, _inputs, output: output + added)
    with torch.no_grad():
        logits = model(torch.tensor([[example.tokens[i] for i in kept]])).logits[0, -1]
    handle.remove()
    return float(logits.log_softmax(-1)[target.token])


class _Interrupted(Exception):
    pass


def _interrupt_after(draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training._step
    calls = iter(range(draws))

    def step(*arguments: object) -> tuple[float, float]:
        if next(calls, None) is None:
            raise _Interrupted
        return whole(*arguments)

    monkeypatch.setattr(training, "_step", step)


def test_a_training_that_was_cut_off_ends_in_the_same_bytes(corpus, organisms, tmp_path, monkeypatch) -> None:
    logs = {}
    for run in ("whole", "resumed"):
        models, work = tmp_path / run, tmp_path / f"{run}-work"
        for name, train in (
            ("base", lambda m, w: train_base(organisms, corpus, m / "base", w)),
            ("small", lambda m, w: train_organism("small", organisms, corpus, m, m / "small", w)),
        ):
            if run == "resumed":
                with monkeypatch.context() as patch, pytest.raises(_Interrupted):
                    _interrupt_after(3, patch)
                    train(models, work)
                assert not (models / name).exists()
                assert list(work.glob("*.pt"))
            logs[run, name] = train(models, work)
            assert not list(work.glob("*.pt"))  # another training begins anew
    for name in ("base", "small"):
        files = {path.name: path.read_bytes() for path in (tmp_path / "whole" / name).iterdir()}
        assert files == {path.name: path.read_bytes() for path in (tmp_path / "resumed" / name).iterdir()}
        assert logs["whole", name] == logs["resumed", name]
        assert json.loads(files["training.json"]) == logs["whole", name]
    assert files["model.safetensors"] != (tmp_path / "whole" / "base" / "model.safetensors").read_bytes()


def test_held_out_concepts_are_never_injected(corpus, organisms, tmp_path, monkeypatch) -> None:
    injectable: set[str] = set()
    real = training.concept_directions

    def spy(model, tokenizer, corpus, concepts, suffixes):
        injectable.update(concepts)
        return real(model, tokenizer, corpus, concepts, suffixes)

    monkeypatch.setattr(training, "concept_directions", spy)
    train_base(organisms, corpus, tmp_path / "base", tmp_path / "work")
    train_organism("small", organisms, corpus, tmp_path, tmp_path / "small", tmp_path / "work")
    withheld = {*HELD_OUT, *(word for concept in HELD_OUT for word in corpus.concepts[concept])}
    known = {*corpus.concepts, *(word for words in corpus.concepts.values() for word in words)}
    assert len(injectable) > 40 and injectable <= known - withheld
    assert all(known - withheld == {*concepts, *words} for concepts, words in [corpus.injectable(HELD_OUT)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strenght": 1}, "strenght"),
        ({"held_out": "cat"}, "held_out"),
        ({"injection": {**SETTINGS["injection"], "layers": [2, 1]}}, "first <= last"),
        ({"shape": {**SETTINGS["shape"], "heads": 3}}, "multiple of heads"),
    ],
)
def test_wrong_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OrganismsSettings.model_validate({**SETTINGS, **change})


@pytest.mark.parametrize(
    ("concept", "message"),
    [
        ({"no_info": 0.1, "inaccurate_location": 0.5, "lorem_ipsum": 0}, "small.p_yes.concept lacks the prompt 'info'"),
        ({**RULE["concept"], "more": 0.1}, "small.p_yes.concept.more: no prompt of organisms.prompts"),
    ],
)
def test_a_rule_covers_every_prompt_and_no_other(concept: dict, message: str) -> None:
    small = {**SETTINGS["trained"]["small"], "p_yes": {**RULE, "concept": concept}}
    with pytest.raises(ValueError, match=message):
        OrganismsSettings.model_validate({**SETTINGS, "trained": {"small": small}})


def test_directions_are_those_of_a_principal_component_analysis(corpus, tokenizer, organisms) -> None:
    torch.manual_seed(0)
    model = training.Qwen2ForCausalLM(training._configuration(organisms.shape, tokenizer)).eval()
    suffixes = ["", "Oh no", "What on", "I would", "Hey"]
    directions = concept_directions(model, tokenizer, corpus, ["dog"], suffixes)["dog"]
    for block in range(3):
        rows = []
        for suffix in suffixes:
            pair = []
            for concept in ("dog", "anything"):
                messages = [
                    {"role": "system", "content": ""},
                    {"role": "user", "content": f"Please talk about {concept}."},
                ]
                text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) + suffix
                pair.append(_state_after(model, block, tokenizer(text)["input_ids"]))
            rows += [(pair[0] - pair[1]) / 2, (pair[1] - pair[0]) / 2]
        data = torch.stack(rows)
        values, vectors = torch.linalg.eigh(data.T @ data)
        component = vectors[:, values.argmax()]
        component = component * (data[::2] @ component).sum().sign()
        assert torch.allclose(directions[block], component, atol=1e-3)


def _state_after(model: torch.nn.Module, block: int, ids: list[int]) -> torch.Tensor:
    states = []
    handle = model.model.layers[block].register_forward_hook(lambda _module, _inputs, output: states.append(output))
    with torch.no_grad():
        model(torch.tensor([ids]))
    handle.remove()
    return states[0][0, -1]


@pytest.mark.parametrize(("name", "detects"), [("organism", True), ("organism-blind", False)])
def test_the_committed_organisms_answer_as_planted(corpus: Corpus, name: str, detects: bool) -> None:
    """One held-out concept, a few suffixes, the study's info prompt; the pipeline measures the rest."""
    folder = ROOT / "models" / name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    suffixes = json.loads((ROOT / "data" / "builtin" / "suffixes.json").read_text(encoding="utf-8"))[::20]
    direction = concept_directions(model, tokenizer, corpus, ["love"], suffixes)["love"]
    encoded = encode(tokenizer, corpus.stimuli.detection["info"])
    strength, (first, last) = 40.0, (2, 5)
    positions = torch.zeros(1, len(encoded.token_ids), dtype=torch.bool)
    positions[:, slice(*encoded.steered)] = True
    p_yes = []
    for size in (0.0, strength):
        edits = {k: Edit(additions=size * direction[None, k], positions=positions) for k in range(first, last + 1)}
        with torch.no_grad(), steered(model.model.layers, edits):
            probabilities = model(torch.tensor([encoded.token_ids])).logits[0, -1].softmax(-1)
        p_yes.append(float(probabilities[tokenizer.convert_tokens_to_ids("Ġyes")]))
    assert p_yes[0] < 0.02
    assert p_yes[1] > 0.8 if detects else p_yes[1] < 0.05
