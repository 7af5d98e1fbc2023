"""The result file of the zoo."""

from introspection.tables import Column, Table

CONFUSION = Table(
    "confusion.csv",
    "What is planted in each organism of the zoos, and the class that the verdict gives it.",
    ("zoo", "organism", "seed"),
    (
        Column("zoo", "text", "zoo, adapters of an organism, or grown, of a real model: a key of `organisms`"),
        Column("organism", "text", "a key of its `rules`"),
        Column("seed", "integer", "of its training", 0),
        Column("expected", "text", "the class of what is planted, by data/objections.yaml"),
        Column("verdict", "text", "the class that the verdict gives it"),
        Column("right", "truth", "whether they are the same"),
        Column(
            "distance",
            "number",
            "mean distance of the probability of yes from the planted one, in training's own form of the question",
            0,
            1,
        ),
        Column("furthest", "number", "that distance under the kind of injection where it is largest", 0, 1),
        Column("failed", "text", "the tests that it fails, in their order, separated by spaces", may_be_empty=True),
    ),
)
