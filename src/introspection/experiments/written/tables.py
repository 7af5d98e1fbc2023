"""The result file of what is written beside what is injected."""

from introspection.tables import PROMPT, RANGE, READOUT, VECTOR, Column, Table

WRITTEN = Table(
    "written.csv",
    "The yes/no answer to the study's question after a turn 1 that ends with a sentence about a concept, or none.",
    ("vector", "written", "sentence", "prompt"),
    (
        VECTOR,
        Column("written", "text", "the concept that the sentence names, or `none` where it names none"),
        Column("sentence", "text", "the sentence, a template of data/prompts/written.yaml"),
        PROMPT,
        *RANGE,
        *READOUT,
    ),
)
