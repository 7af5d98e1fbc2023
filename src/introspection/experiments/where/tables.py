"""The result files of where."""

from introspection.tables import RANGE, VECTOR, Column, Table, probability

TASK = Column("task", "text", "which parts a text has, a key of `tasks` in data/prompts/where.yaml: `half`, `sentence`")

WHERE = Table(
    "where.csv",
    "The choice of a part of a text, after one of its parts was injected into. The part chosen is the one whose letter "
    "is the likeliest of the letters that stand for parts.",
    ("vector", "text", "task", "aim", "order", "place"),
    (
        VECTOR,
        Column("text", "integer", "the number of the text in data/prompts/where.yaml", 1),
        TASK,
        Column("aim", "text", "what is asked for: the part that was `injected` into, or the most `abstract` one"),
        Column("order", "text", "whether the letters name the parts as the text has them, `forward`, or `reversed`"),
        Column("place", "integer", "the number of the part that was injected into", 1),
        Column("places", "integer", "how many parts there are to choose from", 2),
        Column("tokens", "integer", "at how many tokens the vector is added, the first ones of the part", 1),
        *RANGE,
        Column("chosen", "integer", "the part chosen with the injection", 1),
        Column(
            "chosen_debiased",
            "integer",
            "the part whose log-probability the injection raises most, against the same question with nothing injected",
            1,
        ),
        Column("chosen_base", "integer", "the part chosen with nothing injected", 1),
        probability("p_place_injected", "probability of the injected part's letter, of all parts', with the injection"),
        probability("p_place_base", "probability of the injected part's letter, of all parts', with nothing injected"),
        probability("answer_mass_injected", "probability of all parts' letters together with the injection"),
        probability("answer_mass_base", "probability of all parts' letters together with nothing injected"),
    ),
)


def _accuracy(aim: str, meaning: str) -> tuple[Column, ...]:
    return (
        probability(f"accuracy_{aim}", f"share of the trials in which the injected part is chosen {meaning}"),
        Column(f"accuracy_{aim}_low", "number", "the lower end of its interval", 0, 1, may_be_empty=True),
        Column(f"accuracy_{aim}_high", "number", "the upper end of its interval", 0, 1, may_be_empty=True),
        probability(f"accuracy_{aim}_p", "how often the accuracy is as far from chance where places are permuted"),
        probability(f"answer_mass_{aim}", "mean probability of all parts' letters together, with the injection"),
    )


SUMMARY = Table(
    "where_summary.csv",
    "How often the part that was injected into is chosen, asked for that part and asked for the most abstract one, and "
    "the difference. The units of the bootstrap's intervals, and of the difference's p-value, which flips signs, are a "
    "vector with a text; places are permuted within a vector, a text and an order. All p-values are two-sided.",
    ("kind", "task", "readout"),
    (
        Column("kind", "text", "what was injected: `concept`, or a kind of random direction"),
        TASK,
        Column("readout", "text", "`raw`: the column `chosen` of where.csv; `debiased`: `chosen_debiased`"),
        Column("units", "integer", "how many pairs of a vector and a text there are", 1),
        Column("trials", "integer", "how many trials of each question", 1),
        probability("chance", "the accuracy of a choice that does not depend on the place"),
        *_accuracy("injected", "when asked for it"),
        *_accuracy("abstract", "when asked for the most abstract part"),
        Column("difference", "number", "`accuracy_injected` less `accuracy_abstract`", -1, 1),
        Column("difference_low", "number", "the lower end of its interval", -1, 1, may_be_empty=True),
        Column("difference_high", "number", "the upper end of its interval", -1, 1, may_be_empty=True),
        Column("difference_p", "number", "its p-value; empty where there is one unit", 0, 1, may_be_empty=True),
    ),
)
