"""The result files of the control questions."""

from introspection.tables import RANGE, READOUT, VECTOR, Column, Table

GROUP = Column("group", "text", "the group of the question in data/prompts/controls.yaml")

CONTROLS = Table(
    "controls.csv",
    "The yes/no answer to questions that have nothing to do with the injection.",
    ("vector", "question"),
    (VECTOR, Column("question", "text", "the question in turn 2"), GROUP, *RANGE, *READOUT),
    full=(("vector",), ("question",)),
)

STATISTICS = Table(
    "control_statistics.csv",
    "The control questions of a group summed up, for everything injected.",
    ("vector", "group"),
    (
        VECTOR,
        GROUP,
        Column("questions", "integer", "how many questions were not left out", 1),
        *(
            Column(
                name.format(answer=answer, rounding=rounding),
                "number",
                meaning.format(answer=answer) + (", rounded as the post's figures are" if rounding else ""),
                low=-1,
                high=1,
                may_be_empty="_std" in name,
            )
            for rounding in ("", "_bf16")
            for answer in ("yes", "no")
            for name, meaning in {
                "p_{answer}_base{rounding}": "mean probability of {answer} with nothing injected",
                "p_{answer}_injected{rounding}": "mean probability of {answer} with the injection",
                "p_{answer}_shift{rounding}": "mean shift of the probability of {answer}",
                "p_{answer}_shift_std{rounding}": "standard deviation of that shift over questions (n - 1)",
            }.items()
        ),
    ),
)
