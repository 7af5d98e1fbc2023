"""Files in GGUF format as sources of models: where one lies, what is in it, and whether all of it was read."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import gguf

from introspection.sources.errors import SourceError, source_error

SUFFIX = ".gguf"
_CONVERT = "convert the model to safetensors with the tools of its family"
ADVICE = f"{_CONVERT}, take a file of another quantisation, or give a folder of your own"
_TIED = "output.weight"  # Falcon's and Bloom's files repeat the embedding under this name


@dataclass(frozen=True)
class GgufContent:
    """What a GGUF file says about itself, its tensors not read.

    quantisation: the file's own name for it (`MOSTLY_Q4_1`). tensors: how many there are of each type.
    pre_tokenizer: by which name llama.cpp finds the rule that cuts text into words. values: how many numbers there
    are in all tensors. repeated: how many of them are a second copy of the embedding, if there is one.
    """

    architecture: str
    name: str | None
    quantisation: str | None
    tensors: dict[str, int]
    pre_tokenizer: str | None
    values: int
    repeated: int

    def described(self) -> dict[str, Any]:
        """For result files: how the weights were quantised."""
        return {key: value for key, value in asdict(self).items() if key not in ("values", "repeated")}


def located(source: str) -> tuple[str, str | None]:
    """The folder or hub id that a source names, and the GGUF file in it, or None where it names none.

    `models/x.gguf` is a file in a folder; `organisation/name/file.gguf` is one on the hub unless it exists here.
    """
    if not source.lower().endswith(SUFFIX):
        return source, None
    path, parts = Path(source), source.split("/")
    is_local = len(parts) < 3 or source.startswith((".", "/", "~", "models/")) or path.parent.is_dir()
    if is_local:
        return str(path.parent), path.name
    return "/".join(parts[:2]), "/".join(parts[2:])


def pretrained(source: str, revision: str | None) -> dict[str, Any]:
    """A source as the arguments that transformers' `from_pretrained` takes. Raises SourceError for a GGUF file that
    is missing or that is none."""
    repository, file = located(source)
    arguments = {"pretrained_model_name_or_path": repository, "revision": revision or "main"}
    path = gguf_path(source, revision)
    if path is None:
        return arguments
    content_of(path)
    return arguments | {"gguf_file": file}


def unpacked(source: str, quantization: str | None) -> Any:
    """The `quantization_config` that has transformers dequantise a GGUF source, and leave no weight packed.

    Raises SourceError where the settings ask to quantise it once more.
    """
    if quantization is not None:
        raise source_error(
            source, f"quantization is {quantization}, but a GGUF file is quantised already", "set quantization: null"
        )
    configuration = getattr(importlib.import_module("transformers"), "GgufConfig", None)
    return None if configuration is None else configuration(dequantize=True)  # earlier ones always dequantise


def gguf_path(source: str, revision: str | None = None) -> Path | None:
    """Where a source's GGUF file lies on disk, brought from the hub if need be; None where the source is no GGUF file.

    Raises SourceError where there is no such file.
    """
    repository, file = located(source)
    if file is None:
        return None
    path = Path(repository, file)
    if path.is_file():
        return path
    if Path(repository).is_dir() or len(source.split("/")) < 3 or source.startswith((".", "/", "~", "models/")):
        raise source_error(source, "no such file", "check the path")
    hub = importlib.import_module("transformers.utils")  # which takes seconds, and a file that lies here needs it not
    try:
        return Path(hub.cached_file(repository, file, revision=revision or "main"))
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise source_error(
            source,
            f"cannot be had from the hub ({reason})",
            "check id, file, revision and network, log in with `hf auth login` if it is gated",
        ) from error


def content_of(path: Path) -> GgufContent:
    """What is in a GGUF file. Raises SourceError where it is none, or holds what nobody here can read."""
    status = path.stat()
    return _read(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=8)  # several loaders ask, and a vocabulary takes seconds to read
def _read(path: Path, _modified: int, _size: int) -> GgufContent:
    try:
        reader = gguf.GGUFReader(path)
        architecture = _field(reader, "general.architecture")
        file_type = _field(reader, "general.file_type")
        tensors = Counter(tensor.tensor_type.name for tensor in reader.tensors)
    except Exception as error:  # a damaged file makes its reader raise whatever the bytes lead to
        reason = f"{type(error).__name__}: {error}"[:200]
        raise source_error(
            str(path), f"not a GGUF file that can be read ({reason})", "fetch it again, or " + _CONVERT
        ) from error
    if architecture is None:
        raise source_error(str(path), "a GGUF file that names no architecture", _CONVERT)
    unread = _unread(reader, architecture)
    if unread is not None:
        raise source_error(str(path), f"transformers passes over its {unread}, so the model would be another", _CONVERT)
    sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    return GgufContent(
        architecture=architecture,
        name=_field(reader, "general.name"),
        quantisation=None if file_type is None else _file_type_name(file_type),
        tensors=dict(sorted(tensors.items())),
        pre_tokenizer=_field(reader, "tokenizer.ggml.pre"),
        values=sum(sizes.values()),
        repeated=sizes.get(_TIED, 0),
    )


def _field(reader: Any, key: str) -> Any:
    field = reader.fields.get(key)
    return None if field is None else field.contents()


def _unread(reader: Any, architecture: str) -> str | None:
    """A setting that changes what the model computes, and that transformers' reader of GGUF does not read."""
    key = f"{architecture}.rope.scaling.type"
    if _field(reader, key) not in (None, "none") and architecture != "gpt-oss":
        return f"{key} ({_field(reader, key)})"
    if architecture == "gemma2" and _field(reader, "gemma2.block_count") == 46:
        return "scale of attention, which in Gemma 2 of 27 billion is not that of the smaller ones"
    return None


def _file_type_name(number: int) -> str:
    try:
        return str(gguf.LlamaFileType(number).name)
    except ValueError:
        return f"type {number}"


def check_all_was_read(path: Path, model: Any) -> None:
    """Raise SourceError unless a model that was loaded from a GGUF file has as many weights as the file has.

    transformers passes over tensors that it has no place for (the frequencies of Llama 3.1's rotary embedding, the
    other files of a model in several) and leaves at random what it finds nothing for.
    """
    content = content_of(path)
    found = sum(weight.numel() for weight in model.parameters())  # tied ones count once
    tied = getattr(model.config.get_text_config(), "tie_word_embeddings", False)
    if found not in {content.values, content.values - (content.repeated if tied else 0)}:
        raise source_error(
            str(path),
            f"it holds {content.values} numbers, but as transformers reads it (architecture {content.architecture}) "
            f"the model has {found}: some were not read",
            _CONVERT,
        )


@contextmanager
def explained_gguf(path: Path, way_out: str = "models.KEY.source") -> Iterator[None]:
    """Say in one line what transformers cannot read in a GGUF file. Raises SourceError."""
    content = content_of(path)
    try:
        yield
    except SourceError:
        raise
    except Exception as error:  # an unknown architecture or type is a ValueError, a KeyError, ... as it happens
        types = ", ".join(f"{count} x {name}" for name, count in content.tensors.items())
        raise source_error(
            str(path),
            f"transformers cannot read it (architecture {content.architecture}, tensors {types}: "
            f"{type(error).__name__}: {' '.join(str(error).split())[:200]})",
            f"{_CONVERT}, take a file of another quantisation",
            way_out,
        ) from error


def sha256_of(path: Path) -> str:
    """The checksum of a file, whatever its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
