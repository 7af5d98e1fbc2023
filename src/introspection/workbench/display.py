"""An outcome in a terminal: both arms side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from introspection.terminal import printable
from introspection.workbench.outcome import Answer, Control, Gained, Lens, Outcome, Passage, Reply

STEERED = "reverse"
_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 160  # characters of a stretch of what was read, half of them at either end
_ARMS = ("nothing injected", "injected", "shift")


def show(outcome: Outcome, console: Console) -> None:
    """Print everything that was found."""
    console.print(_heading(outcome))
    console.print(_answer(outcome.answer))
    if outcome.controls:
        console.print(_controls(outcome.controls))
    console.print(_lens(outcome.lens))
    for after in dict.fromkeys(gained.after for gained in outcome.gained):
        console.print(_gained(after, [each for each in outcome.gained if each.after == after]))
    for reply in outcome.replies:
        console.print(_reply(reply))


def sparkline(values: Sequence[float]) -> str:
    """Probabilities as bars of eight heights, from 0 to 1."""
    return "".join(_BARS[min(int(value * len(_BARS)), len(_BARS) - 1)] for value in values)


def _heading(outcome: Outcome) -> RenderableType:
    it = outcome.injected
    share = "" if it.fraction is None else f" ({it.fraction:.3g} of the residual stream's norm)"
    length = "" if abs(it.length - 1) < 1e-3 else f", a vector of length {it.length:.3g}"
    strength = f"strength {it.strength:g}{share}{length}"
    return Text.assemble(
        (printable(it.vector), "bold"),
        " in ",
        (printable(it.model), "bold"),
        f", blocks {it.first_layer} to {it.last_layer}, {strength}",
    )


def _answer(answer: Answer) -> RenderableType:
    table = Table("", *(_right(arm) for arm in _ARMS), title="the study's question", title_justify="left")
    base, injected = answer.base, answer.injected
    for name, word in {"p_yes": "yes", "p_no": "no", "answer_mass": "yes or no"}.items():
        one, other = getattr(base, name), getattr(injected, name)
        table.add_row(word, f"{one:.2%}", f"{other:.2%}", f"{other - one:+.2%}")
    for name, word in {"log_odds_yes": "log-odds of yes, nats", "logit_difference": "logit yes - no, nats"}.items():
        one, other = getattr(base, name), getattr(injected, name)
        table.add_row(word, f"{one:.2f}", f"{other:.2f}", f"{other - one:+.2f}", style="bold" if "odds" in name else "")
    return table


def _controls(controls: Sequence[Control]) -> RenderableType:
    title = "control questions: p(yes), and the shift of its log-odds in nats"
    table = Table("question", "right", *(_right(arm) for arm in _ARMS), title=title, title_justify="left")
    for each in controls:
        table.add_row(escape(printable(each.question)), each.expected, *_cells([each.answer]))
    for expected in ("no", "yes"):
        group = [each.answer for each in controls if each.expected == expected]
        if group:
            table.add_row(f"mean of {len(group)}", expected, *_cells(group), style="bold")
    return table


def _cells(answers: Sequence[Answer]) -> tuple[str, str, str]:
    base, injected, shift = (
        sum(values) / len(answers)
        for values in zip(*((each.base.p_yes, each.injected.p_yes, each.shift) for each in answers), strict=True)
    )
    return f"{base:.2%}", f"{injected:.2%}", f"{shift:+.2f}"


def _lens(lens: Lens) -> RenderableType:
    last = len(lens.base) - 1
    table = Table(
        "", f"layer 0 to {last}", _right("most"), _right("at layer"), title="logit lens: p(yes), bars from 0 to 1"
    )
    table.title_justify = "left"
    for arm, values in zip(_ARMS, (lens.base, lens.injected), strict=False):
        most = max(range(len(values)), key=values.__getitem__)
        table.add_row(arm, sparkline(values), f"{values[most]:.2%}", str(most))
    return table


def _gained(after: str, gained: Sequence[Gained]) -> RenderableType:
    title = f"tokens that gained most after {after!r}"
    table = Table("token", *(_right(arm) for arm in _ARMS[:2]), _right("log-odds"), title=escape(title))
    table.title_justify = "left"
    for each in gained:
        table.add_row(
            escape(repr(each.token)), f"{each.p_base:.2%}", f"{each.p_injected:.2%}", f"{each.log_odds_shift:+.2f}"
        )
    return table


def _reply(reply: Reply) -> RenderableType:
    read = Text.assemble(*(_marked(Passage(_shortened(each.text), each.steered)) for each in reply.read))
    said = [
        Text.assemble((f"{arm}: ", "bold"), _marked(passage))
        for arm, passage in zip(_ARMS, (reply.base, reply.injected), strict=False)
    ]
    title = escape(printable(f"{reply.title}: steered tokens are marked"))
    return Panel(Group(read, Text(), *said), title=title, title_align="left")


def _marked(passage: Passage) -> tuple[str, str]:
    return printable(passage.text), STEERED if passage.steered else ""


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN // 2]} […] {text[-_SHOWN // 2 :]}"


def _right(name: str) -> Column:
    return Column(name, justify="right")
