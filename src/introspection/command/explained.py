"""Errors that a user can mend, as one line and an exit status of 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from introspection.terminal import printable

_MENDABLE = (ValueError, OSError, RuntimeError, ArithmeticError)


class Mendable(click.ClickException):
    """Something that the user can mend; 1 is left to answers, 2 says that there is none."""

    exit_code = 2


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a user can mend into one line; INTROSPECTION_TRACEBACK=1 shows where it was raised."""
    try:
        yield
    except click.exceptions.Exit:
        raise
    except _MENDABLE as error:
        if os.environ.get("INTROSPECTION_TRACEBACK"):
            raise
        raise Mendable(printable(" ".join(str(error).split()))) from error
