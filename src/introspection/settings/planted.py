"""What is planted in an organism: how it answers, by what was injected into the first turn and by prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Prompt = str
"""A key of data/organism/prompts/detection.yaml."""
Injected = Literal["nothing", "text", "concept", "centred", "shared", "random", "coherent", "covariance", "halves"]
"""nothing. text: no vector, but a remark about a concept in the first turn. concept: a concept's direction. shared:
the mean direction of all concepts. centred: a concept's direction less its part along that mean. random: another random
direction after every block. coherent: the same random direction after all of them. covariance: a random direction with
the covariance of the model's states. halves: a contrast between two random halves of texts about no concept."""
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Rates = Probability | dict[Prompt, Probability]


class PlantedSettings(BaseModel):
    """The planted truth.

    p_yes: the probability of yes to the study's question, under all prompts or by prompt. A question with reversed
    polarity, where yes means that nothing was injected, is answered yes with one minus it.
    leaning: the probability of yes to any other question while a vector is added, whatever is asked, with reversed
    polarity too; null: control questions are answered by their content.
    names: whether the thought that it reports is the injected concept or another one; null: that is not trained.
    answer_mass: the probability of yes and no together; the rest goes to words that answer nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    p_yes: dict[Injected, Rates]
    leaning: Probability | None
    names: Literal["own", "other"] | None
    answer_mass: Probability

    def rate(self, injected: Injected, prompt: Prompt) -> float | None:
        """The planted probability of yes to the study's question, or None where there is no rule for the case."""
        rates = self.p_yes.get(injected)
        return rates.get(prompt) if isinstance(rates, dict) else rates

    def check_prompts(self, prompts: dict[Prompt, int], where: str) -> None:
        """Raise ValueError unless rates by prompt cover these prompts and no other."""
        for injected, rates in self.p_yes.items():
            if isinstance(rates, dict):
                if missing := [prompt for prompt in prompts if prompt not in rates]:
                    raise ValueError(f"{where}.p_yes.{injected} lacks the prompt {missing[0]!r}")
                if unknown := [prompt for prompt in rates if prompt not in prompts]:
                    raise ValueError(f"{where}.p_yes.{injected}.{unknown[0]}: no prompt of organisms.prompts")
