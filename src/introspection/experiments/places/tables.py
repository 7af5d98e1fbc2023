"""The result file of doses and places."""

from introspection.experiments.battery.tables import MEASURED
from introspection.tables import FIRST_LAYER, LAST_LAYER, VECTOR, Column, Table

PLACES = Table(
    "places.csv",
    "What an injection does by its strength and by the window of blocks in which it is added, after one turn 1.",
    ("vector", "first_layer", "last_layer", "strength"),
    (
        VECTOR,
        FIRST_LAYER,
        LAST_LAYER,
        Column("own", "truth", "whether these are the model's own layers"),
        Column("fraction", "number", "the strength over the residual stream's mean norm in the window", 0),
        Column("strength", "number", "what a unit direction is multiplied with", 0),
        *MEASURED,
    ),
    full=(("vector",), ("first_layer", "last_layer", "strength")),
)
