"""The result file of doses and places."""

from introspection.tables import FIRST_LAYER, LAST_LAYER, VECTOR, Column, Table, nats, probability

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
        probability("p_yes_base", "probability of yes to the study's question with nothing injected"),
        probability("p_yes_injected", "probability of yes to the study's question with the injection"),
        nats("shift", "shift of logit(yes) - logit(no) of the study's question"),
        nats("control_shift", "mean of that shift over control questions of the battery"),
        nats("signed_shift", "mean of that shift over wordings of the battery, times their polarity"),
        nats("residual", "`signed_shift` less what the line through the control questions says of it"),
        probability("accuracy", "mean of the shares of control questions to be answered yes, and no, that are"),
        probability("answer_mass", "mean probability of yes and no together over all questions"),
    ),
    full=(("vector",), ("first_layer", "last_layer", "strength")),
)
