"""The study at the shape of Qwen2.5-Coder-32B with random bfloat16 weights, built on the GPU: nothing is downloaded.

One call measures the layer sweep over all ranges, vectors for nine concepts, detection and control questions, and the
exchange of two models of which one is resident, and prints the share of a plain matrix product's rate that each
reaches. `--small` does the same at a small shape on whatever machine this is.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config

from benchmarks.subjects import ROOT, stimuli, suffixes
from benchmarks.vectors import CONCEPTS
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import prefill, run_prefilled
from introspection.engine.trial import Injection, Trial
from introspection.engine.work import Work, count_work
from introspection.experiments.controls.measure import ask_controls
from introspection.experiments.sweep.measure import layer_ranges, sweep_layers, sweep_trials
from introspection.injection.answers import ask
from introspection.injection.cells import cell_trials, cells_of, encode_all
from introspection.injection.vectors import concept_trials, concept_vectors, random_vectors
from introspection.model.language_model import LanguageModel
from introspection.planning.machine import matrix_product_rate
from introspection.planning.plan import Shape, floating_point_operations, shape_of
from introspection.settings import ModelSettings
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli

LARGE = {
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "vocab_size": 152064,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2048,
}
TOKENS = 760  # of the info prompt in the real tokenizer
STRENGTH = 20.0
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@click.command()
@click.option("--small", is_flag=True, help="A small shape, on the CPU too; writes nothing.")
def main(small: bool) -> None:
    """Measure, print, and write benchmarks/h200.json."""
    if not small and not torch.cuda.is_available():
        raise click.ClickException("no GPU here; --small runs the same at a small shape")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    results = measure(SMALL if small else LARGE, device, torch.float32 if device.type == "cpu" else torch.bfloat16)
    for row in results["rows"]:
        click.echo(
            f"{row['what']}: {row['seconds']:.1f} s, {row['teraflop']:.3g} TFLOP, {row['share']:.0%} of the rate of a "
            f"matrix product ({results['teraflops_of_a_matrix_product']:.3g} TFLOP/s), peak {row['peak_gib']:.1f} GiB"
        )
    if not small:
        (ROOT / "benchmarks" / "h200.json").write_text(json.dumps(results, indent=2) + "\n")


def measure(shape: dict[str, int], device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """All measurements at a shape."""
    asked = stimuli()
    tokenizer = tokenizer_for(asked, TOKENS, shape["vocab_size"])
    product = (16384 if device.type == "cuda" else 1024, shape["hidden_size"], shape["intermediate_size"])
    rate = matrix_product_rate(dtype, device, product)
    rows: list[dict[str, Any]] = []

    def clocked(what: str, run: Callable[[], Any], operations: float) -> None:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0.0
        share = operations / seconds / rate
        rows.append({"what": what, "seconds": seconds, "teraflop": operations / 1e12, "share": share, "peak_gib": peak})

    with resident(shape, tokenizer, device, dtype, seed=0) as model:
        directions = {name: vector.directions for name, vector in random_vectors(model, len(CONCEPTS), seed=3)}
        injections = [Injection(name, STRENGTH, *_middle(model)) for name in directions]
        info = {"info": asked.detection["info"]}
        length = len(encode(tokenizer, info["info"]).token_ids)
        ask(model, asked, info, injections[:1], directions)  # kernels are chosen and loaded here
        counted = _Counted(model, asked, injections, STRENGTH)
        clocked(
            f"layer sweep, {len(layer_ranges(len(model.blocks)))} ranges of {length} tokens",
            lambda: sweep_layers(model, asked, info, {"random_1": STRENGTH}, directions, progress="sweep"),
            counted.sweep(info),
        )
        clocked(
            f"vectors for {len(CONCEPTS)} concepts",
            lambda: list(concept_vectors(model, asked, CONCEPTS, suffixes())),
            counted.vectors(),
        )
        clocked(
            f"detection and {len(asked.controls)} control questions, {len(injections)} vectors",
            lambda: (
                ask(model, asked, asked.detection, injections, directions),
                ask_controls(model, asked, injections, directions),
            ),
            counted.detection_and_controls(),
        )
        operations = counted.prefill(info)
    clocked(
        "model swap: base, finetune, base, each built on the device",
        lambda: _swap(shape, tokenizer, device, dtype, asked),
        operations,
    )
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "shape": shape,
        "teraflops_of_a_matrix_product": rate / 1e12,
        "rows": rows,
    }


class _Counted:
    """Floating point operations of each measurement, by the engine's own plan."""

    def __init__(self, model: LanguageModel, asked: Stimuli, injections: list[Injection], strength: float) -> None:
        self.tokenizer, self.blocks = model.tokenizer, len(model.blocks)
        self.asked, self.injections, self.strength = asked, injections, strength
        self.tokens = tokens_that_fit(model)
        own = ModelSettings(
            source="-", dtype=str(model.model.dtype).split(".")[1], layers=(1, 1), strength=1.0, filler="original"
        )
        self.shape: Shape = shape_of(model, own)

    def sweep(self, conversations: dict[str, Any]) -> float:
        encoded = encode_all(self.tokenizer, conversations)
        return self._of(sweep_trials(encoded, {"random_1": self.strength}, layer_ranges(self.blocks)), unembedded=True)

    def vectors(self) -> float:
        sides = (*CONCEPTS, self.asked.anything)
        return sum(self._of(concept_trials(self.tokenizer, self.asked, side, suffixes())) for side in sides)

    def detection_and_controls(self) -> float:
        questions = {each.question: self.asked.control_conversation(each) for each in self.asked.controls}
        return sum(
            self._of(
                cell_trials(encode_all(self.tokenizer, texts), cells_of(list(texts), self.injections)), unembedded=True
            )
            for texts in (self.asked.detection, questions)
        )

    def prefill(self, conversations: dict[str, Any]) -> float:
        """One conversation read from end to end."""
        (encoded,) = encode_all(self.tokenizer, conversations).values()
        return self._of([Trial(encoded.token_ids)])

    def _of(self, trials: list[Trial], unembedded: bool = False) -> float:
        work: Work = count_work(trials, self.blocks, self.tokens)
        return floating_point_operations(work, self.shape, len(trials) if unembedded else 0)


def _middle(model: LanguageModel) -> tuple[int, int]:
    """The middle third, as the study's [21, 42] of 64."""
    blocks = len(model.blocks)
    return blocks // 3, 2 * blocks // 3


def _swap(shape: dict[str, int], tokenizer: Any, device: torch.device, dtype: torch.dtype, asked: Stimuli) -> None:
    """Turn 1 read by another model than the rest, one of them on the device at a time."""
    encoded = encode(tokenizer, asked.detection["info"])
    with resident(shape, tokenizer, device, dtype, seed=0) as base:
        before = prefill(base, encoded.token_ids[: encoded.steered[0]])
    with resident(shape, tokenizer, device, dtype, seed=1) as finetune:
        turn_1 = prefill(finetune, encoded.token_ids[: encoded.steered[1]], before)
    with resident(shape, tokenizer, device, dtype, seed=0) as base:
        run_prefilled(base, [turn_1], [encoded.token_ids[encoded.steered[1] :]], layers=[len(base.blocks)])


@contextmanager
def resident(
    shape: dict[str, int], tokenizer: Any, device: torch.device, dtype: torch.dtype, seed: int
) -> Iterator[LanguageModel]:
    """A random model, built on the device and gone after the context."""
    torch.manual_seed(seed)
    config = Qwen2Config(**shape, max_position_embeddings=4096, rms_norm_eps=1e-6, tie_word_embeddings=False)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    model.requires_grad_(False)
    loaded = LanguageModel(model, tokenizer)
    del model
    try:
        yield loaded
    finally:
        loaded.release()


def tokenizer_for(asked: Stimuli, tokens: int, most: int) -> Any:
    """A byte-level tokenizer in which the info prompt is about as long as in the real one."""
    texts = [turn.content for conversation in asked.detection.values() for turn in conversation] + [" yes no"] * 9
    low, high = 300, min(most, 3000)
    while True:
        size = (low + high) // 2
        tokenizer = _trained(texts, size)
        length = len(encode(tokenizer, asked.detection["info"]).token_ids)
        if abs(length - tokens) <= 5 or high - low <= 1:
            return tokenizer
        low, high = (size, high) if length > tokens else (low, size)


def _trained(texts: list[str], size: int) -> Any:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    bpe.add_tokens([" yes", " no"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


if __name__ == "__main__":
    main()
