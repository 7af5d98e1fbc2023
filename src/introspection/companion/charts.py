"""A chart of a table, from the declaration of its columns: what varies along an axis, what is measured, what colours.

The chart is a Vega-Lite specification whose rows the page gives it (those that its filter leaves); the quantity and the
colour are parameters that the reader chooses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.schemapi import debug_mode

from introspection.tables import RANGE, Column, Table, names_of

ROWS = "rows"
"""The name of the data that the page gives."""

NONE = "none"

_LEGEND = alt.Legend(orient="top")
_GREY = "#888888"
_ZERO = {"condition": {"test": "datum.value === 0", "value": 2.5}, "value": 1}
_LONG = 40  # characters: text that is read, not compared
_COLOURS = 10  # as many as people with any colour vision tell apart
_PLACES = 60  # along an axis


@dataclass(frozen=True)
class Quantities:
    """What can be drawn.

    names: the one that is drawn first is the first. differences: of those that are the difference of two columns,
    these. intervals: of those that have one, the columns of its lower and its upper end.
    """

    names: tuple[str, ...]
    differences: Mapping[str, tuple[str, str]]
    intervals: Mapping[str, tuple[str, str]]


Drawn = Any
"""One of the kinds of charts that altair has."""


Levels = tuple[tuple[str, tuple[str, ...]], ...]
"""By column of names or truths, what it takes."""


def chart(table: Table, rows: pd.DataFrame) -> dict[str, Any] | None:
    """The chart of a table, None where it has no measured numbers but counts, or one row at most."""
    measured = quantities(table)
    if len(rows) < 2 or not any(each.kind == "number" and each.name in measured.names for each in table.columns):
        return None
    keys = [column for column in table.columns if column.name in table.key]
    differ = {each.name: found for each in keys if each.kind != "text" and (found := rows[each.name].nunique()) > 1}
    numeric = tuple(sorted(differ, key=lambda name: -differ[name]))
    panels = rows.groupby(table.panels, sort=False) if table.panels else ()
    sizes = tuple((str(value), len(found)) for value, found in panels)
    return _specification(table, levels(table, rows), numeric, sizes)


@cache
@debug_mode(False)  # altair checks every part of a chart against its schema, which takes longer than all else: tests do
def _specification(
    table: Table, taken: Levels, numeric: Sequence[str], sizes: Sequence[tuple[str, int]]
) -> dict[str, Any] | None:
    """What is drawn, the same for all tables of a kind whose rows take the same names.

    numeric: the columns of numbers in which rows differ, that with the most values first. sizes: of each panel, how
    many rows it has. Returns a Vega-Lite specification, which nobody changes.
    """
    measured, categories = quantities(table), dict(taken)
    drawn: Drawn | None
    if table.panels:
        drawn = _panels(table, measured, sizes, categories)
    elif set(numeric) == {"first_layer", "last_layer"}:
        drawn = _ranges(table, measured, {name: found for name, found in categories.items() if name in table.key})
    elif numeric:
        drawn = _curves(table, measured, categories, next(each for each in table.columns if each.name == numeric[0]))
    else:
        drawn = _marks(table, measured, categories)
    if drawn is None:
        return None
    drawn = drawn.properties(description=f"{table.about} The table beside this chart has the same rows.")
    if not table.panels:  # whose width is theirs
        drawn = drawn.properties(width="container", autosize=alt.AutoSizeParams(type="fit-x"))
    whole: dict[str, Any] = drawn.to_dict(validate=False)
    return whole


def quantities(table: Table) -> Quantities:
    """The measured numbers of a table; first the difference that an injection makes, and what is in nats."""
    apart = {*table.key, *names_of(RANGE)}
    columns = [each for each in table.columns if each.kind in ("number", "integer") and each.name not in apart]
    intervals = {
        value.name: (low.name, high.name)
        for value, low, high in zip(table.columns, table.columns[1:], table.columns[2:], strict=False)
        if value in columns
        and not value.name.endswith(("low", "high"))
        and low.name.endswith("low")
        and high.name.endswith("high")
    }
    ends = {name for pair in intervals.values() for name in pair}
    found = [each for each in columns if each.name not in ends]
    arms = {each.name: each for each in found}
    differences, of_differences = {}, []
    for base in found:
        injected = base.name.replace("_base", "_injected")
        if injected != base.name and injected in arms:
            name = f"{base.name.replace('_base', '')}: injected less base"
            differences[name] = (injected, base.name)
            of_differences.append(base.named(name))
    ordered = sorted([*of_differences, *found], key=lambda each: _rank(each, set(differences) | set(intervals)))
    return Quantities(tuple(names_of(ordered)), differences, intervals)


def _rank(column: Column, telling: Set[str]) -> tuple[bool, bool, bool, bool]:
    """Before which others a quantity is drawn: shifts in nats first, counts last."""
    shift = "shift" in column.name or ":" in column.name
    return (column.kind == "integer", "nats" not in column.meaning, not shift, column.name not in telling)


def levels(table: Table, rows: pd.DataFrame) -> Levels:
    """By column of names or truths that are not the same in all rows and are compared: what it takes."""
    found: dict[str, tuple[str, ...]] = {}
    for column in table.columns:
        if column.kind in ("text", "truth"):
            values = tuple(dict.fromkeys(str(value) for value in rows[column.name]))
            if 1 < len(values) <= _PLACES and max(map(len, values)) <= _LONG:
                found[column.name] = values
    return tuple(found.items())


def _marks(table: Table, measured: Quantities, categories: Mapping[str, Sequence[str]]) -> Drawn | None:
    """A mark for each row, at the place of a category and of a quantity, with its interval."""
    if not categories:
        return None
    place = max(categories, key=lambda name: len(categories[name]))
    colours = _colours(table, categories, place)
    along = alt.Y(f"{place}:N", sort=list(categories[place]), title=None, axis=alt.Axis(labelLimit=220))
    base = _base(table, measured, colours).encode(y=along, yOffset=alt.YOffset("lane:N", sort=None))
    marks = _with_intervals(base, table, measured, _LEGEND if colours else None)
    return alt.layer(*marks).properties(height=22 * len(categories[place]) + 20)


def _panels(
    table: Table,
    measured: Quantities,
    sizes: Sequence[tuple[str, int]],
    categories: Mapping[str, Sequence[str]],
) -> Drawn | None:
    """A panel with an axis of its own for each value of a column; in it the rows one below the other."""
    named = [column.name for column in table.columns if column.name in table.key and column.name in categories]
    if not named:
        return None
    first, *others = reversed(named)
    line = f"datum['{first}']" + "".join(f" + (datum['{name}'] ? ', ' + datum['{name}'] : '')" for name in others)
    drawn = _rows(table, measured, named[-1:]).transform_calculate(line=line)
    panels = []
    for value, size in sizes:
        along = alt.Y("line:N", sort=None, title=None, axis=alt.Axis(labelLimit=260))
        base = drawn.transform_filter(alt.FieldEqualPredicate(field=table.panels, equal=value)).encode(y=along)
        chance = base.mark_tick(color=_GREY, thickness=2).encode(x="chance:Q")
        layers = [chance, *_with_intervals(base, table, measured, _LEGEND)]
        title = alt.Title(value, fontSize=11, fontWeight="normal", anchor="start")
        panels.append(alt.layer(*layers).properties(title=title, width=420, height=18 * size))
    return alt.vconcat(*panels, spacing=14).add_params(*_chosen(measured, named[-1:]))


def _with_intervals(base: alt.Chart, table: Table, measured: Quantities, legend: alt.Legend | None) -> list[Drawn]:
    """A mark at the value of each row, over a line along its interval."""
    ends = base.mark_rule(color=_GREY, strokeWidth=1.2).encode(x="low:Q", x2="high:Q")
    marks = base.mark_point(filled=True, opacity=0.8, size=38).encode(
        x=_value(alt.X),
        color=alt.Color("colour:N", sort=None, title=None, legend=legend),
        shape=alt.Shape("colour:N", sort=None, title=None, legend=legend),
        tooltip=_tooltip(table, measured),
    )
    return [ends, marks] if measured.intervals else [marks]


def _curves(table: Table, measured: Quantities, categories: Mapping[str, Sequence[str]], along: Column) -> Drawn:
    """A line through the rows that differ along a number alone."""
    apart = [alt.Detail(f"{name}:N") for name in table.key if name != along.name]
    colours = _colours(table, categories)
    counted = alt.Axis(format="d", tickMinStep=1) if along.kind == "integer" else alt.Axis()
    return (
        _base(table, measured, colours)
        .mark_line(point=alt.OverlayMarkDef(filled=True, size=22), opacity=0.7, strokeWidth=1.3)
        .encode(
            x=alt.X(f"{along.name}:Q", title=along.name, axis=counted),
            y=_value(alt.Y),
            color=alt.Color("colour:N", sort=None, title=None, legend=_LEGEND if colours else None),
            detail=apart,
            tooltip=_tooltip(table, measured),
        )
        .properties(height=320)
    )


def _ranges(table: Table, measured: Quantities, categories: Mapping[str, Sequence[str]]) -> Drawn:
    """A cell for every range of blocks; what else tells rows apart is chosen."""
    drawn = _base(table, measured, [])
    for name, found in categories.items():
        drawn = drawn.add_params(_choice(f"only_{name}", name, found)).transform_filter(f"datum.{name} == only_{name}")
    return (
        drawn.mark_rect()
        .encode(
            x=alt.X("last_layer:O", title="last_layer", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("first_layer:O", title="first_layer", sort="descending"),
            color=alt.Color("value:Q", title=None, scale=alt.Scale(scheme="viridis")),
            tooltip=_tooltip(table, measured),
        )
        .properties(height=360)
    )


def _colours(table: Table, categories: Mapping[str, Sequence[str]], place: str = "") -> list[str]:
    """What may colour: columns that tell rows apart in their order, then others, those that take the least first."""
    found = [name for name, values in categories.items() if name != place and len(values) <= _COLOURS]
    return sorted(found, key=lambda name: 0 if name in table.key else len(categories[name]))


def _base(table: Table, measured: Quantities, colours: Sequence[str]) -> alt.Chart:
    """The rows with what the reader chooses."""
    return _rows(table, measured, colours).add_params(*_chosen(measured, colours))


def _chosen(measured: Quantities, colours: Sequence[str]) -> list[alt.Parameter]:
    """What the reader chooses: the quantity, and what colours it."""
    quantity = _choice("quantity", "Quantity", measured.names)
    return [quantity, _choice("coloured_by", "Colour", [*colours, NONE])] if colours else [quantity]


def _rows(table: Table, measured: Quantities, colours: Sequence[str]) -> alt.Chart:
    """The rows with what follows from a choice: `value`, its interval `low` to `high`, and `colour`.

    lane: the colour, where it is of a column that tells rows apart: such rows stand beside each other.
    """
    differences = {name: f"datum['{left}'] - datum['{right}']" for name, (left, right) in measured.differences.items()}
    drawn = alt.Chart(alt.NamedData(name=ROWS))
    ends = [
        f"datum[({ {name: pair[end] for name, pair in measured.intervals.items()} })[quantity]]" for end in range(2)
    ]
    by = f"coloured_by == '{NONE}' ? '' : toString(datum[coloured_by])" if colours else "''"
    lane = f"indexof({[name for name in colours if name in table.key]}, coloured_by) < 0 ? '' : {by}" if colours else by
    return drawn.transform_calculate(**differences).transform_calculate(
        value="datum[quantity]", low=ends[0], high=ends[1], colour=by, lane=lane
    )


def _choice(name: str, label: str, options: Sequence[str]) -> alt.Parameter:
    if len(options) == 1:
        return alt.param(name=name, value=options[0])
    return alt.param(name=name, value=options[0], bind=alt.binding_select(options=list(options), name=f"{label} "))


def _value(channel: Any) -> Any:
    return channel("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(gridWidth=_ZERO))


def _tooltip(table: Table, measured: Quantities) -> list[alt.Tooltip]:
    """What tells the row apart, then what is measured."""
    named = [alt.Tooltip(f"{each.name}:N", title=each.name) for each in table.columns if each.name in table.key]
    shown = [("value", "value")] + ([("low", "from"), ("high", "to")] if measured.intervals else [])
    return [*named, *(alt.Tooltip(f"{name}:Q", title=title, format=".5g") for name, title in shown)]
