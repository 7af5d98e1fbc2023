"""The result file of the prompts' tokens."""

from introspection.tables import PROMPT, Column, Table

PROMPT_TEXT = Table(
    "prompt_text.csv",
    "What a model reads under each prompt, token by token; the file of a model is results/prompt_text/MODEL.csv.",
    ("prompt", "position"),
    (
        PROMPT,
        Column("position", "integer", "of the token, from 0", 0),
        Column(
            "turn", "integer", "the turn that it belongs to, from 0; what the template renders around it included", 0
        ),
        Column("steered", "truth", "whether a vector is added while it is read"),
        Column("token", "text", "the token's text, spaces included"),
    ),
)
