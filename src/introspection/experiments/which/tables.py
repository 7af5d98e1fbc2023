"""The result files of which: choices from a list, layer by layer, and words without one."""

from introspection.stimuli.which import NUMBERS
from introspection.tables import LAYER, PROMPT, VECTOR, Column, Table, nats, probability

LIST = Column("list", "text", "where the numbered list stands: `turn_1`, while the vector is injected, or `turn_2`")
QUESTION = Column("question", "text", "what is asked of it, a key of `questions` in data/prompts/which.yaml")
ARM = (PROMPT, LIST, QUESTION)
KEYS = tuple(column.name for column in ARM)
ORDER = Column("order", "integer", "the number of the list's order", 1)
INJECTED = Column("injected", "text", "the injected concept, `none` where nothing was injected")

TOKENS = "which_tokens.json"
"""What of the answers is one token of the model."""

LAST, HELD_OUT = READINGS = ("last", "held_out")
READING = Column(
    "reading", "text", "`last`: the model's own answer; `held_out`: at the layer that is best on all other orders"
)

WHICH = Table(
    "which.csv",
    "Which number is said of a numbered list of nine concepts and none: the next-token distribution restricted to the "
    "ten numbers.",
    (*KEYS, "order", "injected"),
    (
        *ARM,
        ORDER,
        INJECTED,
        *(probability(f"p_{number}", f"probability of {number} among the ten numbers") for number in NUMBERS),
        probability("mass", "probability of the ten numbers together among all tokens"),
    ),
)

LENS = Table(
    "which_lens.csv",
    "The same by logit lens at every layer, the last among them: the likeliest of the ten numbers.",
    (*KEYS, "order", "injected", "layer"),
    (
        *ARM,
        ORDER,
        INJECTED,
        LAYER,
        Column("number", "integer", "the likeliest of the ten numbers", 0, 9),
        probability("p_own", "probability of the number of what is injected, among the ten numbers"),
    ),
)

ORDERS = Table(
    "which_orders.csv",
    "Which number each concept has in each order of the list; in ten orders each has each number once.",
    ("order", "number"),
    (
        ORDER,
        Column("number", "integer", "the number", 0, 9),
        Column("option", "text", "the concept, or `none`"),
    ),
)

NAMING = Table(
    "naming.csv",
    "How likely each concept's word is to follow where the reply names the injected thought without a list.",
    ("vector", "prompt", "word"),
    (
        VECTOR,
        PROMPT,
        Column("word", "text", "a concept whose word, with its space, is one token"),
        nats("log_p_base", "log-probability of the word with nothing injected"),
        nats("log_p_injected", "log-probability of the word with the injection"),
    ),
)


def _bits(name: str, meaning: str) -> Column:
    return Column(name, "number", f"{meaning}, in bits")


_INFORMATION = (
    _bits("bits", "mutual information of what is injected and the likeliest number's concept, plug-in estimate"),
    _bits("bits_null", "its mean where what is injected is permuted within each order: the estimate's bias"),
    _bits("bits_corrected", "`bits` less `bits_null`"),
    probability("p_value", "share of permutations with at least as much information"),
)

LAYERS = Table(
    "which_layers.csv",
    "What the choices say of what was injected, by layer.",
    (*KEYS, "layer"),
    (*ARM, LAYER, probability("accuracy", "share of the choices that are right"), *_INFORMATION),
)

SUMMARY = Table(
    "which_summary.csv",
    "What the choices say of what was injected: the model's own answers, and those at a layer chosen on other orders.",
    (*KEYS, "reading"),
    (
        *ARM,
        READING,
        Column("choices", "integer", "how many choices there are: the orders times ten", 1),
        Column("layer_low", "integer", "the lowest layer that is read", 0),
        Column("layer_high", "integer", "the highest, where other orders chose another", 0),
        probability("mass", "mean probability of the ten numbers together at the last layer"),
        probability("accuracy", "share of the choices that are right; chance is a tenth"),
        probability("accuracy_low", "the lower end of its bootstrap interval; its units are orders"),
        probability("accuracy_high", "the upper end"),
        *_INFORMATION,
        _bits("bits_miller_madow", "`bits` less the bias that Miller and Madow's formula gives"),
    ),
)

CONFUSION = Table(
    "which_confusion.csv",
    "What was chosen how often for what was injected.",
    (*KEYS, "reading", "injected", "chosen"),
    (
        *ARM,
        READING,
        INJECTED,
        Column("chosen", "text", "the concept of the likeliest number, or `none`"),
        Column("count", "integer", "in how many orders", 0),
    ),
)

PROBABILITY, SHIFT = SCORES = ("probability", "shift")

NAMING_SUMMARY = Table(
    "naming_summary.csv",
    "Where the injected concept's own word stands among all words, of which the likeliest has rank 1.",
    ("prompt", "score"),
    (
        PROMPT,
        Column("score", "text", "what ranks the words: `probability` under injection, or its `shift` in log"),
        Column("words", "integer", "how many words there are, which are all injected in turn", 2),
        Column("mean_rank", "number", "mean over injected concepts of their own word's rank", 1),
        Column("rank_low", "number", "the lower end of its bootstrap interval; its units are concepts", 1),
        Column("rank_high", "number", "the upper end", 1),
        Column("chance", "number", "the mean rank of a word chosen at random", 1),
        probability("first", "share of the concepts whose own word has rank 1"),
        probability("p_value", "share of permutations of the words' owners with as low a mean rank"),
    ),
)
