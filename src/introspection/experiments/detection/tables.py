"""The result file of detection."""

from introspection.tables import PROMPT, RANGE, READOUT, VECTOR, Table

DETECTION = Table(
    "detection.csv",
    "The yes/no answer to the study's question, for everything injected under every prompt.",
    ("vector", "prompt"),
    (VECTOR, PROMPT, *RANGE, *READOUT),
    full=(("vector",), ("prompt",)),
)
