"""The rule for a model's dose: the largest that leaves enough of the model, by what the stage `dose` measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from introspection import names
from introspection.experiments.dose.tables import DOSE, NORMS
from introspection.injection.dose import Calibration
from introspection.settings import DoseSettings, Settings

MEASURES = ("kl", "answer_mass", "control_accuracy", "distinct", "on_topic")


def calibration(settings: Settings, key: str, folder: Path) -> Calibration:
    """What a model's strengths are resolved with, from its result files in `folder`."""
    remedy = f"make it with `dvc repro dose@{key}`"
    norms, dose = (table.read(folder / table.name, remedy) for table in (NORMS, DOSE))
    fraction, broken = largest_borne(dose, settings.dose)
    return Calibration(key, mean_norm(norms, settings.models[key].layers), fraction, broken)


def mean_norm(norms: pd.DataFrame, layers: tuple[int, int]) -> float:
    """The mean norm of what an inclusive range of decoder blocks writes, to which vectors are added there."""
    written = norms["layer"].between(layers[0] + 1, layers[1] + 1)
    return float(norms.loc[written, "mean_norm"].mean())


def largest_borne(dose: pd.DataFrame, rule: DoseSettings) -> tuple[float | None, str | None]:
    """The largest fraction at which, as at every smaller one, the means over the concepts keep what the rule says.

    None where that does not hold at the smallest fraction above 0. With it, what fails at the next larger fraction, in
    words, or None where every fraction is borne.
    """
    means = kind_means(dose, "concept")
    unsteered, borne = means.iloc[0], None
    for fraction in means.index[1:]:
        broken = _broken(means.loc[fraction], unsteered, rule)
        if broken:
            return borne, f"at {fraction:g}, {broken}"
        borne = float(fraction)
    return borne, None


def kind_means(dose: pd.DataFrame, kind: names.Kind) -> pd.DataFrame:
    """The means over all vectors of a kind, a row for each fraction from 0 up; empty where there is no such vector."""
    rows = dose[dose["vector"].isin(names.of_kind(kind, dose["vector"]))]
    return rows.groupby("fraction")[["strength", *MEASURES]].mean().astype(float)


def _broken(row: pd.Series, unsteered: pd.Series, rule: DoseSettings) -> str:
    """What of the rule a fraction breaks, in words; empty where it keeps everything."""
    complaints = [
        f"{name} is {row[name]:.3g}, less than {share:g} (dose.keep.{name}) of the unsteered {unsteered[name]:.3g}"
        for name, share in rule.keep.model_dump().items()
        if row[name] < share * unsteered[name]
    ]
    if row["kl"] > rule.kl_at_most:
        complaints.append(f"kl is {row['kl']:.3g} nats, more than {rule.kl_at_most:g} (dose.kl_at_most)")
    return " and ".join(complaints)
