"""The result file of the prompts' lengths."""

from introspection.tables import PROMPT, Column, Table

PROMPT_TOKENS = Table(
    "prompt_tokens.csv",
    "How long each prompt is in the model's own tokens, and what was done to its text.",
    ("prompt",),
    (
        PROMPT,
        Column("tokens_turn_1", "integer", "tokens in turn 1, at which a vector is added", 1),
        Column("tokens", "integer", "tokens in all, up to where the answer is read", 1),
        Column("tokens_turn_1_as_written", "integer", "tokens in turn 1 of the text in data/prompts/detection.yaml", 1),
        Column("words_changed", "integer", "how many words were added to that text; negative: cut from its end"),
        Column("matched_to", "text", "the prompt whose length in turn 1 it was given; empty: none"),
    ),
)
