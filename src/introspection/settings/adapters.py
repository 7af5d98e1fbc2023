"""The `adapters` section of params.yaml: low-rank changes of a model that this repository trains itself."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Natural = Annotated[int, Field(strict=True, ge=0)]
Text = Annotated[str, Field(strict=True, min_length=1)]


class LoraSettings(BaseModel):
    """A LoRA of some linear maps of a range of decoder blocks.

    blocks: the first and last block that are changed, from 0.
    target_modules: the linear maps that are changed in each of them, by their names in the model.
    rank, scale: the change of a map is scale / rank times the product of two matrices of that rank (PEFT's lora_alpha).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: tuple[Natural, Natural]
    target_modules: tuple[Text, ...] = Field(min_length=1)
    rank: Count
    scale: Positive

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.blocks[0] > self.blocks[1]:
            raise ValueError("blocks must be a range [first, last] with first <= last")
        if len(set(self.target_modules)) < len(self.target_modules):
            raise ValueError("target_modules names a map twice; name each once")
        return self


class AdapterSettings(LoraSettings):
    """One adapter: a LoRA that is trained on the replies of a persona.

    base: the model that it changes, a key of `packages`, fetched to data/raw.
    texts: the file with the persona's requests and replies. persona: whose replies are learned.
    steps of `rows` replies each, by AdamW: a linear warmup, then a cosine decay of learning_rate to nothing.
    log_every: steps between two entries of the log. checkpoint_every: steps between two savings of unfinished work.
    """

    base: Text
    texts: Text
    persona: Text
    steps: Count
    rows: Count
    learning_rate: Positive
    warmup: Natural
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    log_every: Count
    checkpoint_every: Count
    seed: Natural
