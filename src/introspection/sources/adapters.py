"""An adapter as PEFT keeps it: a folder, or a repository on the hub, with a configuration and safetensors weights.

PEFT is imported where one is read: that takes seconds, and most models have no adapter.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from introspection.files import whole
from introspection.sources.bases import CONFIGURATION, is_folder, names_a_folder
from introspection.sources.errors import AdapterError

if TYPE_CHECKING:
    from peft import LoraConfig

WEIGHTS = "adapter_model.safetensors"
LOG = "training.json"
_PREFIX = "base_model.model."  # what PEFT puts before the names of the model's own modules


@dataclass(frozen=True)
class AdapterFiles:
    """Where the two files of an adapter lie on this machine."""

    configuration: Path
    weights: Path


def find_adapter(source: str, revision: str | None = None) -> AdapterFiles:
    """The files of an adapter in a folder, or downloaded from the hub. No weight is read.

    Raises AdapterError where they are missing or out of reach, or where the weights are pickled, which is never loaded.
    """
    folder = Path(source)
    if is_folder(source):
        files = AdapterFiles(folder / CONFIGURATION, folder / WEIGHTS)
        if not files.configuration.is_file():
            raise AdapterError(f"{source}: has no {CONFIGURATION}; give a folder that PEFT saved an adapter to")
        if not files.weights.is_file():
            raise AdapterError(_without_safetensors(source))
        return files
    if names_a_folder(source):
        raise AdapterError(f"{source}: there is no such folder; train the adapter, or give a folder that has one")
    try:
        found = [hf_hub_download(source, name, revision=revision) for name in (CONFIGURATION, WEIGHTS)]
        return AdapterFiles(*map(Path, found))
    except RemoteEntryNotFoundError as error:
        raise AdapterError(_without_safetensors(source)) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise AdapterError(
            f"{source}: cannot be loaded; check the hub id and the network, or download it elsewhere and give its "
            f"folder ({reason})"
        ) from error


def read_adapter(source: str, revision: str | None = None) -> tuple[LoraConfig, dict[str, Tensor]]:
    """An adapter's configuration, and its weights by their names without PEFT's prefix.

    Raises AdapterError as `find_adapter` does, and for a kind of adapter that is not LoRA.
    """
    from peft import LoraConfig, PeftConfig

    files = find_adapter(source, revision)
    try:
        config = PeftConfig.from_pretrained(str(files.configuration.parent))
        weights = load_file(files.weights)
    except Exception as error:  # json, PEFT and safetensors each have their own
        raise AdapterError(
            f"{source}: cannot be read; save it again with PEFT ({' '.join(str(error).split())[:300]})"
        ) from error
    if not isinstance(config, LoraConfig):
        raise AdapterError(f"{source}: is an adapter of the kind {config.peft_type}; only LORA is supported")
    return config, {name.removeprefix(_PREFIX): value for name, value in weights.items()}


def save_adapter(config: LoraConfig, weights: Mapping[str, Tensor], log: Mapping[str, Any], output: Path) -> None:
    """Write an adapter and the log of its training into the folder `output`, which appears at once.

    Keys are sorted, so that the same adapter is the same bytes.
    """
    # PEFT keeps names in sets, whose order changes from process to process
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    named = {_PREFIX + name: weights[name].contiguous() for name in sorted(weights)}
    with whole(output) as folder:
        folder.mkdir()
        _write_json(values, folder / CONFIGURATION)
        _write_json(log, folder / LOG)
        save_file(named, folder / WEIGHTS, metadata={"format": "pt"})


def _write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_safetensors(source: str) -> str:
    return (
        f"{source}: has no {WEIGHTS}; pickled weights (.bin) are not loaded, since reading them can run code: "
        "convert them with save_pretrained(..., safe_serialization=True) where you trust them"
    )
