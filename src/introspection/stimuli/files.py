"""What every file of prompts has: no key but those it declares, and one error that says what is wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from introspection.files import LONGEST

Text = Annotated[str, Field(min_length=1)]


class StimuliError(ValueError):
    """A stimuli file that cannot be used; the message names the file, the key and what is wanted."""


class StimuliFile(BaseModel):
    """A file of prompts: no key but those it declares, and no text that is too long to be read at once."""

    model_config = ConfigDict(extra="forbid", strict=True, str_max_length=LONGEST)
