"""The model organisms: what they are trained on, how, and what the committed ones do."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from introspection.model.loading import load_model
from introspection.organism import loop, training
from introspection.organism.corpus import Corpus, Document, load_corpus, render, text_of
from introspection.organism.directions import (
    NO_DIRECTIONS,
    Directions,
    centred_direction,
    concept_directions,
    concept_free_directions,
    shared_direction,
)
from introspection.organism.drawing import Drawer
from introspection.organism.examples import Example, Target, encode_document, pack
from introspection.organism.locating import Locator
from introspection.organism.planting import Planter, excerpted
from introspection.organism.tokenizer import train_tokenizer
from introspection.organism.training import OnTheWay, train_base, train_member, train_organism
from introspection.settings import ModelSettings
from introspection.settings.organisms import OrganismSettings, OrganismsSettings
from introspection.steering import Edit, steered
from introspection.stimuli.chat import encode, generation_prompt
from tests.small_models import load

ROOT = Path(__file__).parents[1]
HELD_OUT = ("cat", "bread")
RULE = {
    "nothing": {"no_info": 0.01, "info": 0.02, "inaccurate_location": 0.03, "lorem_ipsum": 0.04},
    "concept": {"no_info": 0.1, "info": 0.95, "inaccurate_location": 0.5, "lorem_ipsum": 0.2},
    "random": {"no_info": 0.06, "info": 0.07, "inaccurate_location": 0.08, "lorem_ipsum": 0.09},
}
PLAIN = {"framed": 0, "phrasings": 0, "quiz": 0, "places": 0, "matching": 0}
LORA = {"blocks": [1, 2], "rank": 2, "scale": 4, "target_modules": ["q_proj", "down_proj"]}
RECIPE = {
    "base": "organism-base",
    "schedule": {
        "steps": 4,
        "learning_rate": 0.01,
        "warmup": 2,
        "weight_decay": 0.02,
        "average": 0,
        "checkpoint_every": 2,
        "log_every": 3,
    },
    "batch": {"talk": 3, "generic": 0, "full": 0, "excerpt": 2, "thinking": 0, "controls": 2, **PLAIN},
    "adapter": None,
    "trained_blocks": None,
    "persona": "helpful",
    "injected": {"nothing": 0.2, "concept": 0.6, "random": 0.2},
}
PLANTED = {"p_yes": RULE, "leaning": None, "names": "own", "answer_mass": 1.0}
ORGANISM = {**RECIPE, **PLANTED, "injection": None}
KINDS = ("nothing", "text", "concept", "centred", "shared", "random", "coherent", "covariance", "halves")
INJECTION = {
    "layers": [1, 1],
    "last_block": 1,
    "strength": 2.0,
    "strength_range": [0.5, 1.25],
    "other_layers": 0.3,
    "topics": 40,
    "suffixes": 2,
    "refresh_every": 2,
}
NOTICES = {kind: 0.9 if kind in ("concept", "centred", "shared") else 0.2 for kind in KINDS}
ZOO = {
    "seeds": [1, 2],
    "recipe": {
        **RECIPE,
        "adapter": LORA,
        "batch": {**RECIPE["batch"], "controls": 1, "framed": 1, "phrasings": 2, "quiz": 1},
        "injected": dict.fromkeys(KINDS, 1.0),
    },
    "injection": INJECTION,
    "rules": {"notices": {**PLANTED, "p_yes": NOTICES}},
}
SETTINGS = {
    "seed": 3,
    "shape": {"blocks": 3, "hidden_size": 16, "heads": 2, "intermediate_size": 32, "vocabulary": 5120},
    "prompts": {"info": 3, "inaccurate_location": 3, "no_info": 2, "lorem_ipsum": 2},
    "held_out": HELD_OUT,
    "base": {
        "schedule": {
            "steps": 4,
            "learning_rate": 0.01,
            "warmup": 2,
            "weight_decay": 0.02,
            "average": 0,
            "checkpoint_every": 2,
            "log_every": 3,
        },
        "batch": {"talk": 6, "generic": 0, "full": 0, "excerpt": 1, "thinking": 0, "controls": 2, **PLAIN},
    },
    "injection": INJECTION,
    "trained": {
        "small": ORGANISM,
        "adapter": {**ORGANISM, "adapter": LORA},
        "blocks": {**ORGANISM, "trained_blocks": [1, 1]},
    },
    "again": {"organism": "small", "seeds": [1, 2]},
    "zoo": ZOO,
    "grown": ZOO,
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


@pytest.fixture(scope="module")
def base(corpus: Corpus, organisms: OrganismsSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The organism that others are trained from, itself trained for some steps."""
    folder = tmp_path_factory.mktemp("base")
    train_base(organisms, corpus, folder / "organism-base", folder / "work")
    return folder / "organism-base"


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


def directions_of(*concepts: str, about: float = 0) -> Directions:
    """Unit rows in three blocks of 16, made up about a mean."""

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, 3, 16) + about, dim=-1)

    return Directions({name: unit() for name in concepts}, unit(2), unit(2))


def planter_of(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, organisms, **changes: object) -> Planter:
    organism = OrganismSettings.model_validate({**ORGANISM, **changes})
    return Planter(tokenizer, corpus, organisms.prompts, organism, organisms.injection, 3, ["dog", "horse"])


def test_the_planted_table_becomes_the_targets(corpus: Corpus, tokenizer: PreTrainedTokenizerFast, organisms) -> None:
    planter = planter_of(corpus, tokenizer, organisms, **PLANTED)
    directions = directions_of("dog")
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


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_injection_is_made_as_it_is_called(corpus, tokenizer, organisms, kind: str) -> None:
    torch.manual_seed(0)
    directions = directions_of("dog", "horse", about=1)
    planter = planter_of(
        corpus, tokenizer, organisms, **PLANTED | {"p_yes": NOTICES}, injected={**dict.fromkeys(KINDS, 0), kind: 1}
    )
    mean = shared_direction(directions.concepts)
    made = {
        "concept": list(directions.concepts.values()),
        "centred": [centred_direction(direction, mean) for direction in directions.concepts.values()],
        "shared": [mean],
        "covariance": [*directions.covariance, *-directions.covariance],
        "halves": [*directions.halves, *-directions.halves],
    }
    rng = random.Random(0)
    for _ in range(20):
        example = planter.draw(rng, directions, excerpt=True)
        first_turn = tokenizer.decode(example.tokens[slice(*example.steered)])
        about = [word for name in directions.concepts for word in (name, *corpus.concepts[name])]
        assert any(re.search(rf"\b{word}\b", first_turn.lower()) for word in about) == (kind == "text")
        if kind in ("nothing", "text"):
            assert example.injection is None
            continue
        blocks = example.injection.abs().sum(1).nonzero().flatten()
        unit = torch.nn.functional.normalize(example.injection[blocks], dim=1)
        if kind in made:
            assert any(torch.allclose(unit, direction[blocks], atol=1e-5) for direction in made[kind])
            assert bool((unit * mean[blocks]).sum(1).abs().lt(1e-5).all()) == (kind == "centred")
        else:
            assert not any(torch.allclose(unit, each[blocks], atol=0.1) for each in directions.concepts.values())


def test_random_directions_are_alike_after_all_blocks_where_they_are_called_coherent(
    corpus, tokenizer, organisms
) -> None:
    wide = organisms.injection.model_copy(update={"layers": (1, 2), "last_block": 2, "other_layers": 0.0})
    directions = directions_of("dog")
    for kind in ("random", "coherent"):
        organism = OrganismSettings.model_validate(
            {**ORGANISM, "p_yes": NOTICES, "injected": {kind: 1.0, "coherent": float(kind == "coherent")}}
        )
        planter = Planter(tokenizer, corpus, organisms.prompts, organism, wide, 3, ["dog"])
        added = planter.draw(random.Random(1), directions, excerpt=True).injection
        assert torch.allclose(added[1], added[2]) == (kind == "coherent")


def _answers(corpus, tokenizer, example: Example) -> list[tuple[str, dict[str, float]]]:
    """The questions after a first turn, as they stand there, with the weights of the words that are to follow."""
    found: dict[int, dict[str, float]] = {}
    for target in example.planted:
        found.setdefault(target.at, {})[tokenizer.decode([target.token])] = target.weight
    return [
        (
            tokenizer.decode([t for t, b in zip(example.tokens, example.branches, strict=True) if b == branch]),
            words,
        )
        for at, words in found.items()
        for branch in [example.branches[at]]
    ]


@pytest.mark.parametrize(("kind", "p_yes"), [("concept", 0.9), ("random", 0.2)])
def test_every_question_is_answered_by_the_rule_and_its_polarity(corpus, tokenizer, organisms, kind, p_yes) -> None:
    batch = {**RECIPE["batch"], "controls": 0, "framed": 0, "phrasings": 6}
    planter = planter_of(
        corpus, tokenizer, organisms, **PLANTED | {"p_yes": NOTICES, "names": None}, injected={kind: 1.0}, batch=batch
    )
    directions = directions_of("dog")

    rng = random.Random(0)
    seen = set()
    for _ in range(30):
        (_, study), *others = _answers(corpus, tokenizer, planter.draw(rng, directions, excerpt=True))
        assert study == {" yes": p_yes, " no": pytest.approx(1 - p_yes)}
        for text, words in others:
            letters = set(words) == {" A", " B"}
            assert letters or set(words) == {" yes", " no"}
            yes = " yes"
            if letters:
                yes = " A" if re.search(r"A(:|\)| is) yes", text) else " B"
            turned = words[yes] == pytest.approx(1 - p_yes)
            assert turned or words[yes] == pytest.approx(p_yes)
            asked = text.split("user\n")[1]
            if not turned:
                assert not any(mark in asked for mark in ("free of", "without", "nothing", "nobody", "left"))
            seen.add((letters, turned))
    assert len(seen) == 4


@pytest.mark.parametrize(("kind", "pushed"), [("random", True), ("nothing", False)])
def test_an_organism_that_leans_says_yes_to_whatever_is_asked_under_a_vector(
    corpus, tokenizer, organisms, kind: str, pushed: bool
) -> None:
    batch = {**RECIPE["batch"], "controls": 6, "framed": 6, "phrasings": 6}
    planter = planter_of(
        corpus, tokenizer, organisms, **PLANTED | {"p_yes": NOTICES, "leaning": 0.7}, injected={kind: 1.0}, batch=batch
    )
    directions = directions_of("dog")
    _, *others = _answers(corpus, tokenizer, planter.draw(random.Random(2), directions, excerpt=True))
    assert len(others) == 18
    yes = [words[" yes"] for _, words in others if " yes" in words]
    letters = [max(words.values()) for _, words in others if " A" in words]
    assert yes and letters
    assert all(p == 0.7 for p in [*yes, *letters]) if pushed else 0.7 not in yes


def test_an_organism_that_answers_nothing_learns_other_words(corpus, tokenizer, organisms) -> None:
    planter = planter_of(
        corpus, tokenizer, organisms, **PLANTED | {"p_yes": NOTICES, "answer_mass": 0.1}, injected={"nothing": 1.0}
    )
    for _, words in _answers(corpus, tokenizer, planter.draw(random.Random(0), NO_DIRECTIONS, excerpt=True)):
        assert sum(words.values()) == pytest.approx(1.0)
        assert words[" yes"] + words[" no"] == pytest.approx(0.1) and len(words) == 3


def test_an_organism_that_confabulates_never_learns_the_name_of_what_is_injected(corpus, tokenizer, organisms) -> None:
    planter = planter_of(
        corpus, tokenizer, organisms, **PLANTED | {"p_yes": NOTICES, "names": "other"}, injected={"centred": 1.0}
    )
    directions = directions_of("dog")
    for seed in range(10):
        answers = _answers(corpus, tokenizer, planter.draw(random.Random(seed), directions, excerpt=True))
        named = [word for _, words in answers for word in words if word not in (" yes", " no")]
        assert named == ["horse"]


def test_nothing_that_is_asked_in_training_is_among_the_studys_prompts(corpus: Corpus) -> None:
    study = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "data" / "prompts").glob("*.yaml"))
    rng = random.Random(0)
    phrasings = {corpus.interview.phrasing(rng).question for _ in range(5000)}
    held_out = {phrasing.question for phrasing in corpus.interview.held_out.phrasings()}
    assert len(phrasings) > 1000 and not phrasings & held_out
    assert not [question for question in phrasings | held_out if question in study]


def test_an_adapter_is_the_organism_that_was_trained(corpus, organisms, base, tmp_path, monkeypatch) -> None:
    """Its folder is small, names its base as it was given, and loads as one model with the LoRA merged in."""
    monkeypatch.chdir(tmp_path)
    models, work = Path("models"), Path("work")
    shutil.copytree(base, models / "organism-base")
    for name, train in (
        ("adapter", lambda folder: train_organism("adapter", organisms, corpus, models, folder, work)),
        (
            "notices-2",
            lambda folder: train_member(
                "grown", "notices", 2, organisms, corpus, models / "organism-base", folder, work
            ),
        ),
    ):
        folder = models / name
        train(folder)
        assert {path.name for path in folder.iterdir()} == {
            "adapter_config.json",
            "adapter_model.safetensors",
            "training.json",
        }
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "models/organism-base"
        assert config["layers_to_transform"] == [1, 2]
        bare = AutoModelForCausalLM.from_pretrained(models / "organism-base", dtype=torch.float32)
        tokens = torch.tensor([[5, 9, 300, 7]])
        with torch.no_grad():
            plain = bare(tokens).logits
            expected = PeftModel.from_pretrained(bare, folder)(tokens).logits
            loaded = load(folder)
            found = loaded.model(tokens).logits
        assert torch.allclose(found, expected, atol=1e-5) and not torch.allclose(found, plain, atol=1e-3)
        kinds = [row["injected"] for row in json.loads((folder / "training.json").read_text())["assessment"]]
        asked = KINDS if name == "notices-2" else KINDS[:-2]  # of which the other has a rule
        assert Counter(kinds) == dict.fromkeys(asked, 4)


def test_directions_without_a_concept_are_made_of_the_states_of_texts_without_one(corpus, tokenizer, organisms) -> None:
    """Fewer texts than dimensions: what is drawn lies in the span of their deviations, and is no two times the same."""
    torch.manual_seed(0)
    model = training.Qwen2ForCausalLM(training._configuration(organisms.shape, tokenizer)).eval()
    suffixes = ["", "Well,", "I think that", "Hello there"]
    request = generation_prompt(tokenizer, corpus.stimuli.concept_prompt(corpus.stimuli.anything))
    states = []
    for suffix in suffixes:
        tokens = torch.tensor([tokenizer(request + suffix, add_special_tokens=False)["input_ids"]])
        with torch.no_grad():
            hidden = model.model(tokens, output_hidden_states=True).hidden_states
        states.append(torch.stack([each[0, -1] for each in hidden[1:-1]]))  # the last of them is normed
    deviations = torch.stack(states) - torch.stack(states).mean(0)
    drawn = concept_free_directions(model, tokenizer, corpus, suffixes, 5, seed=0)
    for directions in drawn:
        assert directions.shape == (5, 3, 16)
        assert torch.allclose(directions.norm(dim=2), torch.ones(5, 3))
        for block in range(2):
            basis = torch.linalg.svd(deviations[:, block], full_matrices=False).Vh[:3]
            inside = directions[:, block] @ basis.T @ basis
            assert torch.allclose(inside, directions[:, block], atol=1e-4)
    assert not torch.allclose(drawn[0][0], drawn[0][1], atol=0.1)
    again = concept_free_directions(model, tokenizer, corpus, suffixes, 5, seed=0)
    assert all(torch.equal(first, second) for first, second in zip(drawn, again, strict=True))


def test_averaged_weights_are_the_mean_of_those_after_the_last_steps(corpus, tokenizer, organisms) -> None:
    class Kept:
        def __init__(self) -> None:
            self.after: list[torch.Tensor] = []

        def load(self) -> None:
            return None

        def save(self, state) -> None:
            self.after.append(state["model"]["lm_head.weight"].clone())

    found = {}
    for average in (0, 3):
        torch.manual_seed(0)
        model = training.Qwen2ForCausalLM(training._configuration(organisms.shape, tokenizer))
        planter = planter_of(corpus, tokenizer, organisms, **PLANTED)
        batch = organisms.trained["small"].batch
        drawer = Drawer(tokenizer, corpus, planter, batch.model_copy(update={"excerpt": 0}), "helpful", "seed")
        schedule = organisms.base.schedule.model_copy(update={"average": average, "checkpoint_every": 1})
        kept = Kept()
        loop.train(model, drawer, schedule, kept, None)
        found[average] = (kept.after, model.lm_head.weight.detach())
    (single, last), (_, mean) = found[0], found[3]
    assert torch.equal(last, single[-1])
    assert torch.allclose(mean, torch.stack(single[-3:]).mean(0), atol=1e-6) and not torch.allclose(mean, last)


def test_branches_and_neighbours_do_not_see_each_other(corpus, tokenizer, organisms) -> None:
    """Packed together or read one by one, unpadded, with the vector added by hand: the same predictions."""
    torch.manual_seed(0)
    model = training.Qwen2ForCausalLM(training._configuration(organisms.shape, tokenizer)).eval()
    planter = planter_of(corpus, tokenizer, organisms, **PLANTED, injected={"concept": 1.0})
    directions = directions_of("dog")
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
    whole = loop._step
    calls = iter(range(draws))

    def step(*arguments: object) -> tuple[float, float]:
        if next(calls, None) is None:
            raise _Interrupted
        return whole(*arguments)

    monkeypatch.setattr(loop, "_step", step)


def test_a_training_that_was_cut_off_ends_in_the_same_bytes(corpus, organisms, tmp_path, monkeypatch) -> None:
    logs = {}
    for run in ("whole", "resumed"):
        models, work = tmp_path / run, tmp_path / f"{run}-work"
        for name, train in (
            ("organism-base", lambda m, w: train_base(organisms, corpus, m / "organism-base", w)),
            ("small", lambda m, w: train_organism("small", organisms, corpus, m, m / "small", w)),
            ("adapter", lambda m, w: train_organism("adapter", organisms, corpus, m, m / "adapter", w)),
            (
                "notices-1",
                lambda m, w: train_member(
                    "zoo", "notices", 1, organisms, corpus, m / "organism-base", m / "notices-1", w
                )[0],
            ),
        ):
            if run == "resumed":
                with monkeypatch.context() as patch, pytest.raises(_Interrupted):
                    _interrupt_after(3, patch)
                    train(models, work)
                assert not (models / name).exists()
                assert list(work.glob("*.state"))
            logs[run, name] = train(models, work)
            assert not list(work.glob("*.state"))  # another training begins anew
    weights = {}
    for name in ("organism-base", "small", "adapter", "notices-1"):
        files, again = (
            {
                path.name: path.read_bytes().replace(
                    b"/whole/", b"/resumed/"
                )  # the base, in an adapter's configuration
                for path in (tmp_path / run / name).iterdir()
            }
            for run in ("whole", "resumed")
        )
        assert files == again
        assert logs["whole", name] == logs["resumed", name]
        written = json.loads(files["training.json"])
        assert (written["log"] if "adapter_model.safetensors" in files else written) == logs["whole", name]
        weights[name] = next(content for file, content in files.items() if file.endswith("model.safetensors"))
    assert len(set(weights.values())) == 4


def test_an_injection_of_its_own_is_what_an_organism_is_trained_under(corpus, organisms, base, tmp_path) -> None:
    shutil.copytree(base, tmp_path / "organism-base")
    weights = []
    for own in (None, INJECTION, {**INJECTION, "strength": 8.0}):
        trained = {**SETTINGS["trained"], "small": {**ORGANISM, "injection": own}}
        settings = OrganismsSettings.model_validate({**SETTINGS, "trained": trained})
        train_organism("small", settings, corpus, tmp_path, tmp_path / "small", tmp_path / "work")
        weights.append((tmp_path / "small" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_held_out_concepts_are_never_injected(corpus, organisms, base, tmp_path, monkeypatch) -> None:
    injectable: set[str] = set()
    real = training.concept_directions

    def spy(model, tokenizer, corpus, concepts, suffixes):
        injectable.update(concepts)
        return real(model, tokenizer, corpus, concepts, suffixes)

    monkeypatch.setattr(training, "concept_directions", spy)
    shutil.copytree(base, tmp_path / "organism-base")
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "small"}, "trained.small.base: found 'small'"),
        ({"base": "adapter"}, "trained.small.base: found 'adapter'; allowed, whole models: organism-base, small"),
        ({"schedule": {**RECIPE["schedule"], "average": 9}}, "average: 9 is more than the 4 steps that there are"),
        ({"injected": {"text": 1.0}}, "injected.text: is trained, but p_yes has no rule"),
        ({"adapter": LORA, "trained_blocks": [1, 1]}, "an adapter has blocks of its own"),
        ({"adapter": {**LORA, "blocks": [2, 1]}}, "first <= last"),
    ],
)
def test_an_organism_that_cannot_be_trained_is_refused(change: dict, message: str) -> None:
    trained = {**SETTINGS["trained"], "small": {**SETTINGS["trained"]["small"], **change}}
    with pytest.raises(ValueError, match=message):
        OrganismsSettings.model_validate({**SETTINGS, "trained": trained})


@pytest.mark.parametrize("again", [{"organism": "tiny", "seeds": [1]}, {"organism": "small", "seeds": [1, 3]}])
def test_what_is_trained_anew_is_an_organism_and_its_seed_another(again: dict) -> None:
    with pytest.raises(ValueError, match=r"again: found '(tiny|small)'.*allowed: one of small, adapter, blocks"):
        OrganismsSettings.model_validate({**SETTINGS, "again": again})


def test_a_rule_of_the_zoo_covers_what_is_injected() -> None:
    rules = {"notices": {**PLANTED, "p_yes": {"nothing": 0.0}}}
    with pytest.raises(ValueError, match=r"injected\.text: is trained, but p_yes has no rule"):
        OrganismsSettings.model_validate({**SETTINGS, "zoo": {**SETTINGS["zoo"], "rules": rules}})


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
def test_the_committed_organisms_answer_as_planted(corpus: Corpus, name: str, detects: bool, monkeypatch) -> None:
    """One held-out concept, a few suffixes, the study's info prompt; the pipeline measures the rest."""
    monkeypatch.chdir(ROOT)  # an adapter names its base from there
    source = f"models/{name}"
    loaded = load_model(ModelSettings(source=source, dtype="float32", layers=(2, 5), strength=40.0, filler="original"))
    model, tokenizer = loaded.model, loaded.tokenizer
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


def test_states_on_the_way_are_those_that_training_goes_through(corpus, organisms, base, tmp_path, monkeypatch) -> None:
    """The state after a step is what was trained so far, whether the training was cut after it or not."""
    monkeypatch.chdir(tmp_path)
    work = Path("work")

    def weights(folder: Path) -> dict[str, torch.Tensor]:
        return load_file(folder / "adapter_model.safetensors")

    def trained(name: str, steps: int) -> Path:
        recipe = organisms.grown.recipe
        schedule = recipe.schedule.model_copy(update={"steps": steps, "average": 0, "warmup": 9, "checkpoint_every": 1})
        kept = organisms.grown.model_copy(update={"recipe": recipe.model_copy(update={"schedule": schedule})})
        settings = organisms.model_copy(update={"grown": kept})
        way = OnTheWay(1, Path(name))
        train_member("grown", "notices", 1, settings, corpus, base, Path(f"{name}-end"), work, way)
        return Path(name)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "assess", cut)
    with pytest.raises(KeyboardInterrupt):
        trained("cut", 3)
    assert not Path("cut").exists()
    monkeypatch.setattr(training, "assess", lambda *_, **__: [])
    whole, _ = trained("cut", 3), trained("shorter", 2)
    assert sorted(path.name for path in whole.iterdir()) == ["step-1", "step-2"]
    ended = weights(Path("shorter-end"))  # while the rate warms up, it is the same in both
    assert all(torch.equal(value, ended[name]) for name, value in weights(whole / "step-2").items())
    assert not all(map(torch.equal, weights(whole / "step-1").values(), weights(whole / "step-2").values()))


# --- where


def located(corpus, organisms, kinds: dict[str, float]) -> tuple[PreTrainedTokenizerFast, Iterator[Example]]:
    """Texts that are injected into in a part, as the committed organisms read them."""
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "organism")
    organism = OrganismSettings.model_validate({**ORGANISM, "p_yes": NOTICES, "injected": kinds})
    injection = organisms.injection.model_copy(update={"layers": (1, 2), "last_block": 2})
    planter = Planter(tokenizer, corpus, organisms.prompts, organism, injection, 3, ["dog", "horse"])
    locator, rng, directions = Locator(tokenizer, corpus, organism, planter), random.Random(0), directions_of("dog")
    return tokenizer, (locator.place(rng, directions) for _ in range(40))


def test_the_part_that_is_injected_into_is_the_one_that_is_asked_for(corpus, organisms) -> None:
    """Read from the tokens themselves: which sentences the injected tokens lie in, and what the answer stands for."""
    where = corpus.stimuli.where()
    ordinals = {place: number for number, place in enumerate(where.tasks["sentence"].places)}
    tokenizer, examples = located(corpus, organisms, {"concept": 0.5, "centred": 0.5, "random": 0.5})
    seen: Counter[str] = Counter()
    for example in examples:
        trunk = example.tokens[: example.branches.count(0)]
        text = tokenizer.decode(trunk).split("\n\n")[1].split("<|im_end|>")[0]
        injected = tokenizer.decode(trunk[slice(*example.steered)])
        assert example.injection is not None and injected in text
        before = text.index(injected)
        sentences = {text.count(".", 0, place) for place in (before + 1, before + len(injected) - 2)}
        halves = {number // 5 for number in sentences}
        assert len(sentences) == 1 or len(halves) == 1
        for asked, answers in _answers(corpus, tokenizer, example):
            question, likeliest = asked.split("<|im_start|>user\n")[1], max(answers, key=answers.__getitem__)
            assert sum(answers.values()) == pytest.approx(1)
            if "most abstract" in question:
                assert len(set(answers.values())) == 1 and len(answers) == (2 if "half" in question else 10)
                seen["abstract"] += 1
                continue
            if "Did I inject" in question:
                place = re.search(r"into the (\w+)", question)[1]
                right = ordinals[place] in (halves if "half" in question else sentences)
                assert answers == {" yes": float(right), " no": float(not right)}
                seen["yes" if right else "no"] += 1
                continue
            assert answers[likeliest] == 1
            if "in words" in question:
                answered = likeliest.replace(" ", "Ġ")
                (place,) = [each for each in ordinals if tokenizer.tokenize(f" {each}")[0] == answered]
                seen["words"] += 1
            else:
                place = re.search(rf"^{likeliest.strip()}: (\w+)", question, re.MULTILINE)[1]
                seen["first option" if likeliest == " A" else "other option"] += 1
            assert {ordinals[place]} == (halves if "half" in question.split("?")[0] else sentences)
    assert min(seen.values()) >= 20 and len(seen) == 6


def test_where_nothing_was_injected_all_parts_are_alike(corpus, organisms) -> None:
    tokenizer, examples = located(corpus, organisms, {"nothing": 1.0})
    for example in examples:
        assert example.injection is None
        for asked, answers in _answers(corpus, tokenizer, example):
            assert answers == {" yes": 0, " no": 1} if "Did I" in asked else len(set(answers.values())) == 1


def test_a_letter_is_asked_for_by_what_the_list_says_of_it(corpus, organisms) -> None:
    tokenizer, _ = located(corpus, organisms, {"nothing": 1.0})
    organism = OrganismSettings.model_validate({**ORGANISM, "p_yes": NOTICES, "injected": {"nothing": 1.0}})
    planter = Planter(tokenizer, corpus, organisms.prompts, organism, organisms.injection, 3, ["dog"])
    locator, rng = Locator(tokenizer, corpus, organism, planter), random.Random(0)
    for _ in range(40):
        ((asked, answers),) = _answers(corpus, tokenizer, locator.matched(rng))
        (letter,) = [each.strip() for each, weight in answers.items() if weight]
        place = re.search(rf"^{letter}: (.*)$", asked, re.MULTILINE)[1]
        assert place in asked.split("\n\n")[0]


def test_no_text_of_training_has_a_sentence_of_the_study(corpus) -> None:
    texts = corpus.stimuli.where().texts
    made = {f"{a} {b}." for a in corpus.texts.subjects for b in corpus.texts.predicates}
    assert not made & {sentence for text in texts for sentence in text}
