"""How long the prompts are in a model's tokens, and what it reads for filler: what all questions to it depend on."""

from __future__ import annotations

import click
from common import model_of, pinned, stage

from introspection.experiments.prompts.tables import PROMPT_TOKENS
from introspection.files import PROMPTS, RESULTS
from introspection.injection.filler import FILLER, fill
from introspection.model.loading import load_tokenizer
from introspection.settings import Settings
from introspection.tables import write_outputs


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/MODEL/filler.json and prompt_tokens.csv."""
    tokenizer = load_tokenizer(pinned(settings, model))
    filled = fill(PROMPTS, tokenizer, model_of(settings, model).filler)
    outputs = {FILLER: filled.turns_1, PROMPT_TOKENS.name: PROMPT_TOKENS.of(filled.tokens)}
    write_outputs(outputs, RESULTS / model)


if __name__ == "__main__":
    main()
