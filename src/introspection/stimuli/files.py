"""What every file of prompts has: no key but those it declares, and one error that says what is wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1)]


class StimuliError(ValueError):
    """A stimuli file that cannot be used; the message names the file, the key and what is wanted."""


class StimuliFile(BaseModel):
    """A file of prompts: no key but those it declares."""

    model_config = ConfigDict(extra="forbid", strict=True)
