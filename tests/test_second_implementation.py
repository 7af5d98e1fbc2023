"""Small GGUF files beside llama.cpp: the same tokens, and the same logits where nothing is quantised.

Defined only where the package llama-cpp-python can be had: the study does not need it, and it is built from source.
`benchmarks/second_implementation.py` makes the same comparison with the real model.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType as Quantisation
from tokenizers import Tokenizer

from benchmarks import second_implementation as second
from introspection.stimuli.chat import encode
from introspection.stimuli.prompts import Stimuli
from tests.gguf_files import CONFIGS, random_model, vocabulary, write_gguf
from tests.small_models import load

ROW = second.Logits("info", 669, 0.85, 0.86, 0.85, 0.3, 1e-4, 0.1)


def test_the_page_says_what_was_found() -> None:
    same = second.Comparison({"detection": 4, "controls": 16}, 999, [], [ROW])
    text = second.page(same, "small", "small.Q4_1.gguf", "1.0")
    assert "20 texts (4 detection, 16 controls), 999 tokens: the same in both." in text and "met." in text
    assert "| info | 669 | 0.85000 | 0.86000 | 0.85000 | 0.300 (0.100) | 1.0e-04 |" in text
    other = second.Comparison({"detection": 4}, 999, ["detection: 'x'"], [ROW])
    assert not other.agrees and "**1 texts differ**" in second.page(other, "small", "small.Q4_1.gguf", "1.0")


if importlib.util.find_spec("llama_cpp") is not None:

    @pytest.mark.parametrize("types", [{}, {"": Quantisation.Q8_0}], ids=["float32", "quantised"])
    @pytest.mark.parametrize("family", list(CONFIGS))
    def test_llama_cpp_reads_the_same_model(
        tmp_path: Path, tokenizer: Tokenizer, stimuli: Stimuli, family: str, types: dict[str, Quantisation]
    ) -> None:
        words = vocabulary(family, tokenizer, stimuli)
        path = write_gguf(tmp_path / "small.gguf", family, random_model(family, len(words.tokens)), words, types)
        model = load(path)
        prompt = encode(model.tokenizer, stimuli.detection["no_info"]).token_ids
        texts = {"controls": [stimuli.control_conversation(question)[-2].content for question in stimuli.controls]}
        found = second.compare(model, path, texts, {"no_info": prompt})
        assert found.differing == []
        (row,) = found.logits
        rounding = 2e-3 if family == "gemma2" else 1e-4  # llama.cpp looks Gemma's GELU up in a table of float16
        assert row.difference_float32 < rounding
        assert row.difference_quantised < (0.5 if types else rounding)
