"""Whether all of a model's weights were read, and none made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from introspection.sources.errors import SourceError

_UNMATCHED = {
    "missing_keys": "its weights lack tensors that config.json asks for",
    "mismatched_keys": "its weights have tensors of another shape than config.json asks for",
    "unexpected_keys": "its weights have tensors that config.json has no place for",
}


def check_every_tensor(source: str, read: Mapping[str, Any]) -> None:
    """Raise SourceError where the weights and the configuration are of two models.

    read: what `from_pretrained(..., output_loading_info=True)` says. transformers fills what it does not find with
    random numbers, and passes over what it has no place for.
    """
    for kind, told in _UNMATCHED.items():
        found = sorted(str(each[0] if isinstance(each, tuple) else each) for each in read[kind])
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            raise SourceError(
                f"{source}: {told}: {', '.join(found[:3])}{more}; config.json and the weights are of two models, or "
                "some weights were lost: save or fetch the model anew"
            )
