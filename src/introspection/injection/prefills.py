"""Turn 1 as a finetune has read it, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from introspection.engine.cache import Prefill
from introspection.files import whole
from introspection.sources.tensors import explained_tensors


def save_prefills(prefills: Mapping[str, Prefill], path: Path) -> None:
    """Write caches to one safetensors file, whole or not at all; without any, a file that holds none."""
    tensors = {}
    for key, cache in prefills.items():
        for block, (keys, values) in enumerate(zip(cache.keys, cache.values, strict=True)):
            tensors[f"{key}.{block:04d}.keys"] = keys.contiguous()
            tensors[f"{key}.{block:04d}.values"] = values.contiguous()
    metadata = {"token_ids": json.dumps({key: cache.token_ids for key, cache in prefills.items()})}
    with whole(path) as unfinished:
        save_file(tensors, unfinished, metadata)


def load_prefills(path: Path) -> dict[str, Prefill]:
    """Read the caches that `save_prefills` wrote. Raises ResultError where the file is missing or another thing."""
    prefills = {}
    with explained_tensors(path, "prefill"), safe_open(path, framework="pt") as file:
        names = sorted(file.keys())
        for key, token_ids in json.loads(file.metadata()["token_ids"]).items():
            keys = tuple(file.get_tensor(n) for n in names if n.startswith(f"{key}.") and n.endswith(".keys"))
            values = tuple(file.get_tensor(n) for n in names if n.startswith(f"{key}.") and n.endswith(".values"))
            prefills[key] = Prefill(tuple(map(int, token_ids)), keys, values)
            shapes = {tensor.shape[-2] for tensor in (*keys, *values)}
            if len(keys) != len(values) or shapes != {len(token_ids)}:
                raise ValueError(f"keys and values of {key!r} are not those of its {len(token_ids)} tokens")
            if not all(bool(tensor.isfinite().all()) for tensor in (*keys, *values)):
                raise ValueError(f"keys or values of {key!r} are no finite numbers")
    return prefills
