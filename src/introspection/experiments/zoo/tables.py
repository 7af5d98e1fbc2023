"""The result files of the zoos, and which of a model's files an organism has."""

from introspection.tables import Column, Table

EXAMINED = (
    "detection.csv",
    "written.csv",
    "competence.csv",
    "battery_fit.csv",
    "population_summary.csv",
    "verdict.csv",
    "verdict.json",
)
"""What stays of an organism's examination; the rest is soon made again."""

BEYOND = (
    "framing.csv",
    "naming_summary.csv",
    "places.csv",
    "reader_summary.csv",
    "where_summary.csv",
    "which_summary.csv",
)
"""What stays of what it is asked beyond yes and no."""

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
