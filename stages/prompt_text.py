"""What a model reads under each prompt, token by token: for readers, who see in it what is steered."""

from __future__ import annotations

import click
from common import pinned, stage

from introspection.experiments.prompt_text.tables import PROMPT_TEXT
from introspection.experiments.prompt_text.tokens import token_rows
from introspection.files import PROMPTS, RESULTS
from introspection.injection.filler import FilledStimuli
from introspection.model.loading import load_tokenizer
from introspection.settings import Settings


@stage
@click.argument("model")
def main(settings: Settings, model: str) -> None:
    """Write results/prompt_text/MODEL.csv."""
    stimuli = FilledStimuli.of_model(PROMPTS, RESULTS / model)
    rows = token_rows(load_tokenizer(pinned(settings, model)), stimuli.detection)
    PROMPT_TEXT.write(rows, RESULTS / "prompt_text" / f"{model}.csv")


if __name__ == "__main__":
    main()
