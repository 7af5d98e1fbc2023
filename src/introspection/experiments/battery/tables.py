"""The result files of the battery."""

from introspection.tables import PROMPT, RANGE, READOUT, VECTOR, Column, Table, nats, probability

ITEM = Column("item", "text", "the question, as in data/prompts/battery.yaml")
FORMAT = Column("format", "text", "how it is put, a key of `formats` there")
ANSWERS = Column("answers", "text", "what answers it: `words` (yes and no) or `letters` (A and B)")
POLARITY = Column("polarity", "integer", "1 where yes means that something was injected, -1 where nothing", -1, 1)

BATTERY = Table(
    "battery.csv",
    "The answer to every question of the battery after one turn 1; yes and no are the words or letters that mean that.",
    ("vector", "prompt", "item", "format"),
    (
        VECTOR,
        PROMPT,
        ITEM,
        Column("group", "text", "`detection`, or control questions to be answered yes or no, or with no right answer"),
        FORMAT,
        ANSWERS,
        Column("polarity", "integer", f"{POLARITY.meaning}; empty for control questions", -1, 1, may_be_empty=True),
        Column("pair", "integer", "the number of a wording and its reversal, likewise", 1, may_be_empty=True),
        *RANGE,
        *READOUT,
    ),
    full=(("vector",), ("prompt",), ("item", "format")),
)

FIT = Table(
    "battery_fit.csv",
    "What an injection does to control questions, a line D = a + (b - 1) l, and what of the detection questions it "
    "leaves. l is the logit of yes less that of no with nothing injected, D its shift under the injection. Intervals "
    "are a bootstrap's; its units are the control questions, and the pairs of a wording and its reversal.",
    ("vector", "prompt", "answers"),
    (
        VECTOR,
        PROMPT,
        ANSWERS,
        Column("controls", "integer", "how many control questions the line is fitted to", 1),
        Column("phrasings", "integer", "how many detection questions there are", 1),
        nats("bias", "a: the shift of a control question between whose answers the model does not choose"),
        nats("bias_low", "the lower end of its interval"),
        nats("bias_high", "the upper end of its interval"),
        Column("slope", "number", "b: below 1 the injection draws the answers together, a compression"),
        Column("slope_low", "number", "the lower end of its interval"),
        Column("slope_high", "number", "the upper end of its interval"),
        nats("control_shift", "mean shift of the control questions, towards yes"),
        nats("detection_shift", "mean shift of the detection questions, towards yes whatever it means"),
        nats("signed_shift", "mean of the detection questions' shifts times their polarity"),
        nats("signed_low", "the lower end of its interval"),
        nats("signed_high", "the upper end of its interval"),
        nats("predicted", "what the line says that `signed_shift` would be"),
        nats("residual", "`signed_shift` less `predicted`"),
        nats("residual_low", "the lower end of its interval"),
        nats("residual_high", "the upper end of its interval"),
        *(
            probability(f"{name}_{arm}", f"{meaning} {words}")
            for name, meaning in {
                "accuracy": "mean of the shares of control questions to be answered yes, and no, that are answered so,",
                "control_mass": "mean probability of both answers together in control questions,",
                "detection_mass": "mean probability of both answers together in detection questions,",
            }.items()
            for arm, words in {"base": "with nothing injected", "injected": "with the injection"}.items()
        ),
    ),
)

PHRASINGS = Table(
    "battery_phrasings.csv",
    "Every detection question of the battery beside what the control questions' line says of it.",
    ("vector", "prompt", "item", "format"),
    (
        VECTOR,
        PROMPT,
        ITEM,
        FORMAT,
        ANSWERS,
        POLARITY,
        nats("level", "l: logit of yes less that of no with nothing injected"),
        nats("shift", "D: how the injection shifts it"),
        nats("predicted", "what the line says of the shift, a + (b - 1) l"),
        nats("residual", "`shift` less `predicted`"),
    ),
)

MEASURED = (
    probability("p_yes_base", "probability of yes to the study's question with nothing injected"),
    probability("p_yes_injected", "probability of yes to the study's question with the injection"),
    nats("shift", "shift of logit(yes) - logit(no) of the study's question"),
    nats("control_shift", "mean of that shift over control questions of the battery"),
    nats("signed_shift", "mean of that shift over wordings of the battery, times their polarity"),
    nats("residual", "`signed_shift` less what the line through the control questions says of it"),
    probability("accuracy", "mean of the shares of control questions to be answered yes, and no, that are"),
    probability("answer_mass", "mean probability of yes and no together over all questions"),
)
"""The columns of what an injection does to part of the battery (`battery/part.py`)."""
