"""A byte-level BPE tokenizer with a ChatML template, trained on the corpus."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from introspection.organism.corpus import Corpus, text_of

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_DOCUMENTS = 20_000
_REPEATS = 200  # of what must be cut into few tokens: the study's prompts, concepts, yes and no


def train_tokenizer(corpus: Corpus, vocabulary: int, seed: int) -> PreTrainedTokenizerFast:
    """Train on drawn documents and on the study's prompts.

    Raises ValueError if a concept, ` yes` or ` no` does not become one token: the vocabulary is too small.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(t, normalized=False, special=True) for t in (END_OF_TEXT, TURN_START, TURN_END)],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(corpus, random.Random(f"tokenizer {seed}")), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    fast.chat_template = CHAT_TEMPLATE
    for word in _whole_words(corpus):
        if len(fast(word, add_special_tokens=False)["input_ids"]) != 1:
            raise ValueError(f"organisms.shape.vocabulary: {vocabulary} is too small, {word!r} is not one token")
    return fast


def _whole_words(corpus: Corpus) -> list[str]:
    concepts = [form for name in corpus.concepts for form in (name, f" {name}")]
    answers = [corpus.stimuli.yes, corpus.stimuli.no, " Yes", "yes", "Yes", " No", "no", "No"]
    return concepts + answers


def _texts(corpus: Corpus, rng: random.Random) -> Iterator[str]:
    for _ in range(_DOCUMENTS):
        yield text_of(corpus.draw(rng)).replace(TURN_START, "").replace(TURN_END, "")
    for _ in range(_REPEATS):
        for conversation in (*corpus.stimuli.detection.values(), *corpus.stimuli.content.values()):
            yield "\n".join(turn.content for turn in conversation)
        yield from _whole_words(corpus)
        yield from (f" {word}" for words in corpus.concepts.values() for word in words)
