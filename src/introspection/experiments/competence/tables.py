"""The result file of competence."""

from introspection.tables import VECTOR, Column, Table, probability

COMPETENCE = Table(
    "competence.csv",
    "How many control questions are answered rightly, with nothing injected and under everything injected.",
    ("vector",),
    (
        VECTOR.named("vector", "what was injected: `none`, a vector's name, or `finetune` where it read turn 1"),
        Column("questions", "integer", "how many questions were asked", 1),
        Column("right", "integer", "how many have the logit of the right answer above that of the other", 0),
        probability("accuracy", "the share of right answers"),
        probability("accuracy_low", "the lower end of its Wilson interval"),
        probability("accuracy_high", "the upper end of its Wilson interval"),
        probability("accuracy_yes", "the accuracy over questions to be answered yes"),
        probability("accuracy_no", "the accuracy over questions to be answered no"),
        probability("balanced_accuracy", "the mean of these two"),
        probability("answer_mass", "the mean probability of yes and no together"),
    ),
)
