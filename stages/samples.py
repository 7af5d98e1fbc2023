"""Top of mind: what does the model say it is thinking about, steered while it reads and replies?"""

from __future__ import annotations

from common import RESULTS, model_stage, read_stimuli, write_csv
from injected import read_directions

from introspection.experiments.samples.measure import Intervention, generate_replies, samples_table, study_interventions
from introspection.injection.cells import FINETUNE
from introspection.model.language_model import LanguageModel
from introspection.model.loading import resident
from introspection.settings import ModelSettings, Settings


@model_stage
def main(settings: Settings, model: str, model_settings: ModelSettings) -> None:
    """Write results/MODEL/samples.csv."""
    interventions = study_interventions(model_settings, settings.study.concepts)
    vectors = list(dict.fromkeys(each.injection.vector for each in interventions if each.injection))
    directions = read_directions(model, vectors)
    conversation = read_stimuli().top_of_mind

    def replies(loaded: LanguageModel, under: list[Intervention]) -> list[str]:
        return generate_replies(
            loaded, conversation, under, directions, **settings.samples.model_dump(), seed=settings.study.seed
        )

    with resident(model_settings) as loaded:
        texts = replies(loaded, interventions)
    if model_settings.contrast:  # between the concepts and the persona vector made from it, as in every table
        place = 1 + len(settings.study.concepts)
        interventions.insert(place, Intervention(FINETUNE))
        with resident(model_settings.finetune()) as finetune:
            texts[place:place] = replies(finetune, [Intervention(FINETUNE)])
    write_csv(samples_table(interventions, texts), RESULTS / model / "samples.csv")


if __name__ == "__main__":
    main()
