"""The vector that is injected: a concept's, trained once and kept; one from a file; or a direction drawn at random."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import gguf
import numpy as np

from introspection.experiments.subject import Subject
from introspection.files import SUFFIXES
from introspection.injection import vectors as training
from introspection.injection.derived import negated
from introspection.injection.repengs import ControlVector
from introspection.injection.vectors import Float, concept_vectors, load_vector, random_vectors, save_vector
from introspection.model.language_model import LanguageModel
from introspection.sources.bases import base_of
from introspection.workbench.request import Request, RequestError

CACHE = Path(".work/vectors")
_ARCHITECTURE = "controlvector"
_LLAMA_CPP_NAMES = {"mistral": "llama", "gpt_neox": "gptneox"}  # of model types that it calls something else


def name_of(request: Request) -> str:
    """What the vector is called in tables."""
    name = request.concept or (request.vector.name if request.vector else f"random direction {request.random}")
    return f"{name}, negated" if request.negated else name


def vector_of(subject: Subject, request: Request) -> ControlVector:
    """The vector of a request, by decoder block. Only a concept that is not kept yet needs the model's weights."""
    if request.vector is not None:
        directions = read_vector(request.vector, subject.model)
    elif request.random is not None:
        ((_, drawn),) = random_vectors(subject.model, 1, request.random)
        directions = drawn.directions
    else:
        assert request.concept is not None
        directions = _trained(subject, request.concept)
    first, last = request.layers or subject.model_settings.layers
    missing = [block for block in range(first, last + 1) if block not in directions]
    if missing:
        raise RequestError(
            f"layers {first}:{last}: {name_of(request)} has no direction for block {missing[0]}; it has "
            f"{min(directions)} to {max(directions)}"
        )
    return ControlVector(_model_type(subject.model), dict(negated(directions) if request.negated else directions))


def save(vector: ControlVector, path: Path) -> None:
    """Write a GGUF file that repeng and llama.cpp (`--control-vector`) read."""
    save_vector(vector, path)


def read_vector(path: Path, model: LanguageModel) -> Mapping[int, Float]:
    """The directions in a GGUF file of llama.cpp's or repeng's, by block, each (hidden,).

    Raises RequestError, in one line, for what is no such file, what is of another model, and what is not finite.
    """
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    except FileNotFoundError as error:
        raise RequestError(f"vector {path}: there is no such file; give the path of a GGUF file") from error
    except Exception as error:  # a damaged file makes its reader raise whatever the bytes lead to
        raise RequestError(f"vector {path}: not a GGUF file that can be read ({error}); make it again") from error
    found = fields.get("general.architecture")
    if found != _ARCHITECTURE:
        raise RequestError(f"vector {path}: holds a {found}, no {_ARCHITECTURE}; give a control vector")
    hint, own = str(fields.get(f"{_ARCHITECTURE}.model_hint", "")), _model_type(model)
    if hint and _plain(hint) not in {_plain(own), _LLAMA_CPP_NAMES.get(own)}:
        raise RequestError(f"vector {path}: was made for a {hint}, and this model is a {own}; make one for this model")
    directions: dict[int, Float] = {}
    for tensor in reader.tensors:
        word, _, number = tensor.name.partition(".")
        if word != "direction" or not number.isdigit():
            raise RequestError(f"vector {path}: tensor {tensor.name!r} is no direction.BLOCK; give a control vector")
        if tensor.tensor_type != gguf.GGMLQuantizationType.F32:
            raise RequestError(f"vector {path}: {tensor.name} is {tensor.tensor_type.name}; write it in F32")
        directions[int(number)] = np.array(tensor.data)
    _check(path, directions, model)
    return directions


def _check(path: Path, directions: Mapping[int, Float], model: LanguageModel) -> None:
    if not directions:
        raise RequestError(f"vector {path}: has no directions; make it again")
    for block, direction in sorted(directions.items()):
        if direction.shape != (model.hidden_size,):
            raise RequestError(
                f"vector {path}: direction.{block} has {direction.size} numbers, and this model's residual stream "
                f"{model.hidden_size}; it is of another model"
            )
        if not np.isfinite(direction).all():
            raise RequestError(f"vector {path}: direction.{block} holds NaN or infinity; make it again")
    blocks = len(model.blocks)
    if max(directions) >= blocks or min(directions) < 1:
        raise RequestError(
            f"vector {path}: has directions for blocks {min(directions)} to {max(directions)}, and this model's are "
            f"1 to {blocks - 1}; it is of another model"
        )


def _trained(subject: Subject, concept: str) -> Mapping[int, Float]:
    path = _kept(subject, concept)
    if not path.is_file():
        settings = subject.settings
        ((_, vector),) = concept_vectors(
            subject.model,
            subject.stimuli,
            [concept],
            subject.suffixes,
            sign=settings.study.sign,
            tokens_per_batch=settings.engine.tokens_per_batch,
        )
        save_vector(vector, path)
    directions: Mapping[int, Float] = load_vector(path).directions
    return directions


def _kept(subject: Subject, concept: str) -> Path:
    """Where a concept's vector is kept: by a hash of all that it is made of, the code that makes it included."""
    stimuli, settings = subject.stimuli, subject.model_settings
    parts = {
        "weights": _weights(settings.source),
        "model": [settings.source, settings.revision, settings.dtype, settings.quantization],
        "requests": [[turn.content for turn in stimuli.concept_prompt(each)] for each in (concept, stimuli.anything)],
        "suffixes": list(_suffixes(subject)),
        "sign": subject.settings.study.sign,
        "code": Path(training.__file__).read_text(encoding="utf-8"),
    }
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return CACHE / f"{digest[:32]}.gguf"


def _suffixes(subject: Subject) -> list[str]:
    if subject.given_suffixes is None and not SUFFIXES.is_file():
        raise RequestError(f"{SUFFIXES}: what vectors are trained on is missing; bring it with `dvc repro download`")
    return list(subject.suffixes)


def _weights(source: str) -> list[tuple[str, int, int]]:
    """A local model's files and those of an adapter's base: name, size and when they were written last."""
    places = [Path(place) for place in (source, base_of(source)) if place]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.glob("*")))]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _model_type(model: LanguageModel) -> str:
    return str(model.model.config.model_type)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
