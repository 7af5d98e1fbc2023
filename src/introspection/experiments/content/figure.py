"""The figure of the content reports: concept tokens through the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from introspection import names
from introspection.paper.figure_style import (
    DASHED,
    Look,
    figure_text,
    finish_layers,
    name_edges,
    sample,
    shade_layers,
)


def content_figure(
    content: pd.DataFrame,
    vectors: Sequence[str],
    tokens: Mapping[str, str],
    injected: tuple[int, int],
    look: Look,
) -> Figure:
    """The probability of concept tokens after the longer beginning of the reply: a panel per vector.

    A colour per prompt. The injected concept's own token is drawn solid with the injection and dashed without; the
    other concepts' tokens, injected, are thin lines of the same colour. `tokens`: by concept, the token that names it.
    """
    figure, panels = look.panels(len(vectors), share_y=False)
    prompts = look.prompts.ordered(content["prompt"])
    for vector, axis in zip(vectors, panels, strict=True):
        shade_layers(axis, injected)
        for prompt in prompts:
            color = look.color(prompt)
            part = content[(content["vector"] == vector) & (content["prompt"] == prompt)]
            for token, curve in part.sort_values("layer").groupby("token", sort=True):
                names_concept = token == tokens.get(vector)
                if names_concept:
                    axis.plot(curve["layer"], curve["p_base"], color=color, **DASHED)
                axis.plot(curve["layer"], curve["p_injected"], color=color, linewidth=1.3 if names_concept else 0.4)
        finish_layers(axis, names.vector_label(vector))
    name_edges(panels, "layer", "p(concept token)")
    handles = [
        *(sample(color=look.color(prompt), linewidth=1.3) for prompt in prompts),
        sample(color="0.3", **DASHED),
        sample(color="0.3", linewidth=0.4),
    ]
    labels = [figure_text(f"own token, {look.prompts.label(prompt)}") for prompt in prompts]
    labels += ["own token, not injected", "other concepts' tokens, injected"]
    figure.legend(handles, labels, loc="outside lower center", ncols=2, columnspacing=1)
    return figure
