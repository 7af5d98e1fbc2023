"""The post's figures as data, and what is read from them again: columns and their meaning, declared once.

What the post prints stays text with its digits, since how many there are says how far each figure was rounded; so do
strengths and layers, which only tell its rows apart. What is computed from the figures is numbers.
"""

from introspection.tables import PROMPT, Column, Table, nats, probability


def _printed(name: str, meaning: str) -> Column:
    return Column(name, "text", f"{meaning}, as the post prints it")


def _interval(name: str, meaning: str, value: bool = False, **more: bool) -> tuple[Column, ...]:
    """The ends of what both roundings allow, after the value at the printed figures where there is one."""
    at = (nats(name, f"{meaning}, at the printed figures"),) if value else ()
    ends = ((f"{name}_low", "the least"), (f"{name}_high", "the largest"))
    return (
        *at,
        *(Column(end, "number", f"{meaning}, in nats: {word} that the rounding allows", **more) for end, word in ends),
    )


def _chances(name: str, meaning: str) -> tuple[Column, ...]:
    ends = (("low", "the least"), ("high", "the largest"))
    return tuple(Column(f"{name}_{end}", "number", f"{meaning}: {word} that the rounding allows") for end, word in ends)


VECTOR = Column("vector", "text", "what was injected; `unsteered` where nothing was")
STRENGTH = _printed("strength", "the strength, empty for the finetune and for nothing")
FIRST_LAYER, LAST_LAYER = _printed("first_layer", "the first injected block"), _printed("last_layer", "the last one")
RANGE = (STRENGTH, FIRST_LAYER, LAST_LAYER)
SOURCE = Column("source", "text", "the parts of the post that print the row")
ANSWER = Column("answer", "text", "yes or no")
QUANTITY = Column("quantity", "text", "what is stated or counted")
QUOTE = Column("quote", "text", "the post's words")
FITS = Column("fits", "truth", "whether the claim can be true of the printed figure")
CHANCE = probability("chance", "the probability of fitting by chance")
_KEY = ("vector", "prompt", "strength", "first_layer", "last_layer")

_FIGURES = tuple(
    _printed(f"p_{answer}_{arm}_bf16", f"the probability of {answer} {words}")
    for answer in ("yes", "no")
    for arm, words in {"base": "with nothing injected", "injected": "with the injection"}.items()
)
_SHIFTS = tuple(_printed(f"p_{answer}_shift", f"the difference of the two for {answer}") for answer in ("yes", "no"))
_YES = (_FIGURES[0], _FIGURES[1], _SHIFTS[0])
_LOG_ODDS = (
    *_interval("log_odds_base", "log-odds of yes with nothing injected", value=True),
    *_interval("log_odds_injected", "log-odds of yes with the injection", value=True),
    *_interval("log_odds_shift", "shift of the log-odds", value=True),
)
_SIDES = tuple(
    column.named(f"{side}_{column.name}", f"of the {side} side: {column.meaning}")
    for side in ("left", "right")
    for column in (VECTOR, PROMPT, FIRST_LAYER, LAST_LAYER)
)
_CLAIM = (
    Column("comparison", "text", "the comparison's name"),
    SOURCE,
    Column("quantity", "text", "`injected`, `shift` or `lift`: what of the left side is said to be above the right's"),
    *_SIDES,
)

# data/published

POST_DETECTION = Table(
    "detection.csv", "The post's detection tables.", _KEY, (VECTOR, PROMPT, *RANGE, *_FIGURES, *_SHIFTS, SOURCE)
)
POST_CONTROLS = Table(
    "controls.csv",
    "The post's means over the control questions.",
    ("vector", "group"),
    (
        VECTOR,
        Column("question", "text", "`mean`"),
        Column("group", "text", "the group of questions in data/prompts/controls.yaml"),
        *RANGE,
        *_FIGURES,
        *(
            _printed(shift.name + end, shift.meaning + words)
            for shift in _SHIFTS
            for end, words in {"": ": mean", "_std": ": standard deviation over questions"}.items()
        ),
        SOURCE,
    ),
)
POST_SAMPLES = Table(
    "samples.csv",
    "The replies that the post shows.",
    ("intervention", "prompt", "strength", "first_layer"),
    (
        Column("intervention", "text", "what was injected, or `finetune`"),
        *RANGE,
        Column("prompt", "text", "what was asked"),
        Column("text", "text", "the reply, as far as the post shows it"),
        SOURCE,
    ),
)
POST_COMPARISONS = Table("comparisons.csv", "What the post's words compare.", ("comparison",), (*_CLAIM, QUOTE))
POST_STATEMENTS = Table(
    "statements.csv",
    "What the post reports in words or in a chart without a table.",
    ("source", "quantity"),
    (SOURCE, QUANTITY, Column("value", "text", "the number or range, as given"), QUOTE),
)

# results/published

SHIFTS = Table(
    "shifts.csv",
    "Each row of the detection tables in log-odds.",
    _KEY,
    (
        VECTOR,
        PROMPT,
        *RANGE,
        *_YES,
        *_LOG_ODDS,
        nats("logit_shift", "the grid's steps between the two arms times the step"),
        SOURCE,
    ),
)
GRID = Table(
    "grid.csv",
    "Each softmax against the claim that its two logits differ by a multiple of the grid's step.",
    (*_KEY, "source"),
    (
        VECTOR,
        PROMPT,
        *RANGE,
        SOURCE,
        _printed("p_yes", "the probability of yes"),
        _printed("p_no", "the probability of no"),
        *_interval("log_odds", "log-odds of yes"),
        *_interval("logit_difference", "ln(p_yes / p_no)"),
        Column("steps", "integer", "the nearest multiple"),
        nats("grid", "that multiple of the step"),
        Column("other_mass_low", "number", "the least that the other tokens have if it is so", may_be_empty=True),
        Column("other_mass_high", "number", "the most that they have", may_be_empty=True),
        FITS,
        CHANCE,
    ),
)
SPACINGS = Table(
    "spacings.csv",
    "The test of the grid for several steps.",
    ("spacing",),
    (
        nats("spacing", "the step of the grid"),
        Column("logits_from", "number", "logits are that far apart in bfloat16 from here on"),
        Column("logits_to", "number", "and up to here"),
        Column("softmaxes", "integer", "how many were tested"),
        Column("fits", "integer", "how many fit"),
        Column("expected_by_chance", "number", "how many would by chance"),
        CHANCE,
    ),
)
SIGNIFICANDS = Table(
    "significands.csv",
    "Each printed probability against the claim that it is a bfloat16 number.",
    (*_KEY, "source", "answer"),
    (
        VECTOR,
        PROMPT,
        *RANGE,
        SOURCE,
        ANSWER,
        _printed("printed", "the probability"),
        Column("candidates", "integer", "how many bfloat16 numbers print so"),
        probability("bfloat16", "the nearest bfloat16 number"),
        FITS,
        CHANCE,
    ),
)
DIFFERENCES = Table(
    "differences.csv",
    "How each printed difference was made.",
    (*_KEY, "answer"),
    (
        VECTOR,
        PROMPT,
        *RANGE,
        SOURCE,
        ANSWER,
        _printed("base", "the probability with nothing injected"),
        _printed("injected", "the probability with the injection"),
        _printed("difference", "their difference"),
        Column("of_printed", "truth", "it is the difference of the printed figures"),
        Column("of_bfloat16", "truth", "it is that of two bfloat16 numbers that print so"),
        Column("rounded_again", "truth", "it is that of two such numbers, rounded to bfloat16 once more"),
    ),
)
CONTROLS = Table(
    "controls.csv",
    "The means over the control questions in log-odds.",
    ("vector",),
    (VECTOR, *RANGE, *_YES, *_LOG_ODDS, SOURCE),
)
COMPARISONS = Table(
    "comparisons.csv",
    "What the post's words compare, judged on both scales.",
    ("comparison",),
    (
        *_CLAIM,
        *_chances("left_probability", "the left side's quantity in probability"),
        *_chances("right_probability", "the right side's quantity in probability"),
        Column("in_probability", "text", "`holds`, `reversed` or `undecided`"),
        *_interval("left_log_odds", "the left side's quantity in log-odds"),
        *_interval("right_log_odds", "the right side's quantity in log-odds"),
        Column("in_log_odds", "text", "`holds`, `reversed` or `undecided`"),
        Column("changes", "truth", "whether the two verdicts differ"),
        QUOTE,
    ),
)
REVERSALS = Table(
    "reversals.csv",
    "Pairs of rows whose shifts have one order in probability and the other in log-odds.",
    tuple(f"{side}_{name}" for side in ("above", "below") for name in _KEY),
    (
        *(
            column.named(f"{side}_{column.name}", f"of the row {side} in probability: {column.meaning}")
            for side in ("above", "below")
            for column in (VECTOR, PROMPT, *RANGE)
        ),
        *_chances("above_probability", "the larger shift of p(yes)"),
        *_chances("below_probability", "the smaller shift of p(yes)"),
        *_interval("above_log_odds", "the shift of the log-odds of the row that is above in probability"),
        *_interval("below_log_odds", "the shift of the log-odds of the other"),
    ),
)
PROMPT_EFFECTS = Table(
    "prompt_effects.csv",
    "The info prompt against each other: a move of the baseline plus a change of the shift.",
    ("vector", "strength", "first_layer", "last_layer", "against"),
    (
        VECTOR,
        *RANGE,
        PROMPT,
        PROMPT.named("against", "the prompt it is held against"),
        *_interval("injected", "difference of the log-odds under injection"),
        *_interval("baseline", "difference of the unsteered log-odds"),
        *_interval("shift", "difference of the shifts"),
    ),
)
DISAGREEMENTS = Table(
    "disagreements.csv",
    "The unsteered figures of one prompt that different tables print.",
    ("prompt", "answer", "source", "other_source"),
    (
        PROMPT,
        ANSWER,
        _printed("printed", "the probability"),
        SOURCE,
        _printed("other_printed", "the other probability"),
        SOURCE.named("other_source"),
        Column("agrees", "truth", "whether some probability prints as both"),
        *_interval("log_odds", "log-odds of the answer", may_be_empty=True),
        *_interval("other_log_odds", "log-odds of the answer in the other", may_be_empty=True),
        *_interval("difference", "the other less the first", may_be_empty=True),
        Column("steps", "integer", "their difference on the grid"),
    ),
)
SUMMARY = Table(
    "summary.csv",
    "Counts and extremes.",
    ("quantity",),
    (QUANTITY, Column("value", "number", "the count, or the number")),
)
