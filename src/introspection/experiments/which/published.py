"""What another study has published of the same question, as it prints it."""

from introspection.tables import PROMPT, Column, Table

PATH = "data/latent_introspection.csv"

PUBLISHED = Table(
    "latent_introspection.csv",
    "Mutual information between nine injected concepts and those recovered from a list, in Qwen2.5-Coder-32B "
    "(Pearson-Vogel et al., arXiv:2602.20031).",
    ("prompt", "reading"),
    (
        PROMPT,
        Column("reading", "text", "`last`: the model's own answer; `best`: at the layer with most information"),
        Column("bits", "number", "the mutual information, in bits", 0),
    ),
)
