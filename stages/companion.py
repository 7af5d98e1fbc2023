"""Write the paper's companion: every result file as pages of HTML."""

from __future__ import annotations

from pathlib import Path

from common import PAPER, stage
from report_common import PIPELINE
from ruamel.yaml import YAML

from introspection.companion.site import write_companion
from introspection.paper.pipeline import output_stages
from introspection.paper.results import Results
from introspection.settings import Settings


@stage
def main(settings: Settings) -> None:
    """Write paper/build/companion."""
    pipeline = YAML(typ="safe", pure=True).load(PIPELINE.read_text(encoding="utf-8"))
    lists = {
        "study.models": settings.study.models,
        "organisms.trained": settings.organisms.trained,
        "organisms.zoo.rules": settings.organisms.zoo.rules,
        "organisms.zoo.seeds": settings.organisms.zoo.seeds,
    }
    results = Results(Path(), output_stages(pipeline, lists))
    write_companion(results, settings.study.models, PAPER / "build" / "companion")


if __name__ == "__main__":
    main()
