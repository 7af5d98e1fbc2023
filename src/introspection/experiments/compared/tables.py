"""The result file of the comparison."""

from introspection.tables import Column, Table

COMPARED = Table(
    "compared.csv",
    "Every test of every model of the study, those included that were run elsewhere, and of organisms on a real one.",
    ("test", "measured", "which", "model"),
    (
        Column("test", "text", "the objection, or the question"),
        Column("measured", "text", "what its number is, and its unit"),
        Column("which", "text", "which of its numbers, where it has several", may_be_empty=True),
        Column("model", "text", "a key of `models`, or of an organism on a real model its folder in `models`"),
        Column("number", "number", "the number", may_be_empty=True),
        Column("number_low", "number", "the lower end of its interval", may_be_empty=True),
        Column("number_high", "number", "the upper end of its interval", may_be_empty=True),
        Column("chance", "number", "what a guess, or no effect, gives", may_be_empty=True),
        Column("rule", "text", "what it takes to pass, by params.yaml, or chance in words", may_be_empty=True),
        Column("passed", "text", "whether it passes: `yes`, `no`, or `no rule`"),
        Column("file", "text", "the result file that it is read from"),
    ),
    panels="measured",
)
