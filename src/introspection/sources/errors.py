"""What is raised where a model's source cannot be used."""

from __future__ import annotations


class SourceError(RuntimeError):
    """A model's source cannot be used; one line: the file or key, what was found, what to do, and the way out."""


class AdapterError(ValueError):
    """An adapter that cannot be used; the message names where it lies and the way out."""


def source_error(where: str, found: str, advice: str, way_out: str = "models.KEY.source") -> SourceError:
    """The error in the words that all of them share. way_out: the key in `params.yaml` that takes a folder instead."""
    line = f"{where}: {found}; {advice}, or give a folder of your own as {way_out} in params.yaml"
    return SourceError(" ".join(line.split()))
