"""The result file of framing."""

from introspection.experiments.battery.tables import MEASURED
from introspection.tables import RANGE, VECTOR, Column, Table

FRAMING = Table(
    "framing.csv",
    "What an injection does to the study's question and to part of the battery, by what turn 1 says about injections.",
    ("vector", "frame", "support"),
    (
        VECTOR,
        Column("frame", "text", "what turn 1 says of injections, a key of data/prompts/framing.yaml"),
        Column("support", "text", "what stands between: the explanation of transformers, or filler"),
        *RANGE,
        Column("tokens_turn_1", "integer", "of the model's own, in turn 1 of user and assistant", 1),
        *MEASURED,
    ),
    full=(("vector",), ("frame",), ("support",)),
)
