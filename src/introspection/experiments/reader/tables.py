"""The result files of reader: every example's answers, and what the model and the readers get right."""

from introspection.tables import Column, Table, probability

WHICH, DETECTION, DIRECTION = TASKS = ("which", "detection", "direction")
RESIDUAL, CACHE = EVIDENCE = ("residual", "cache")
CENTROID, LOGISTIC = READERS = ("nearest_centroid", "logistic_regression")
FEW, MANY = EXAMPLES = ("few", "many")

TASK = Column(
    "task",
    "text",
    "`which`: which concept or none; `detection`: a concept or nothing; `direction`: a concept or a random direction",
)
EVIDENCE_COLUMN = Column(
    "evidence",
    "text",
    "`residual`: the stream at the answer after every block; `cache`: keys, values of turn 1, means",
)
READER_COLUMN = Column("reader", "text", "`nearest_centroid` or `logistic_regression`")
EXAMPLES_COLUMN = Column("examples", "text", "trained on `few` examples of each class, or on `many`, all of the fold")
KEYS = ("task", "evidence", "reader", "examples")
_KEY_COLUMNS = (TASK, EVIDENCE_COLUMN, READER_COLUMN, EXAMPLES_COLUMN)

READER = Table(
    "reader.csv",
    "What readers say of states that they were not trained on, and what the model says of the same. They are trained "
    "on other passages, vectors of other suffixes and, but for `which`, other concepts.",
    (*KEYS, "passage", "vector"),
    (
        *_KEY_COLUMNS,
        Column("passage", "integer", "the number of the passage at the end of turn 1", 1),
        Column("vector", "text", "what is injected, `none` for nothing"),
        Column("half", "integer", "the half of the suffixes that its vector is of, and the passage's", 1, 2),
        Column("truth", "text", "what is right: a concept or `none`; `something` or `nothing`"),
        Column("read", "text", "what the reader says"),
        Column("said", "text", "what the model says"),
        Column("read_score", "number", "the reader's leaning to `something`; empty for `which`", may_be_empty=True),
        Column(
            "said_score", "number", "logit(yes) - logit(no) of the model, in nats; empty for `which`", may_be_empty=True
        ),
    ),
)


def _scored(who: str, whose: str) -> tuple[Column, ...]:
    return (
        probability(f"{who}_accuracy", f"accuracy of {whose}, mean over the classes"),
        probability(f"{who}_low", "the lower end of its bootstrap interval; its units are passages"),
        probability(f"{who}_high", "the upper end"),
        probability(f"{who}_p", "share of permutations of what is right, within passages, with as high an accuracy"),
        Column(f"{who}_auc", "number", f"area under the curve of {whose} score; none for `which`", 0, 1, True),
    )


SUMMARY = Table(
    "reader_summary.csv",
    "The model's answers and a reader's on the same examples, and the examples that only one of them gets right.",
    KEYS,
    (
        *_KEY_COLUMNS,
        Column("count", "integer", "how many examples there are", 1),
        probability("chance", "one over the number of classes"),
        *_scored("model", "the model's"),
        *_scored("reader", "the reader's"),
        Column("both", "integer", "examples that both get right", 0),
        Column("model_only", "integer", "examples that the model alone gets right", 0),
        Column("reader_only", "integer", "examples that the reader alone gets right", 0),
        Column("neither", "integer", "examples that neither gets right", 0),
        probability("mcnemar_p", "exact p-value of McNemar's test that each alone is right equally often"),
    ),
)
