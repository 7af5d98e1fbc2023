"""What a question more costs after one turn 1: the battery's questions under every injection, first few, then more.

`python -m benchmarks.question` prints it for the committed organism, all in one run; with a key of params.yaml for
that model, whose weights must be at hand.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import click

from benchmarks.measure import Outputs, timed
from benchmarks.subjects import ORGANISM, ROOT, organism, stimuli
from introspection.engine.memory import tokens_that_fit
from introspection.engine.run import run_trials
from introspection.engine.trial import Trial
from introspection.engine.work import count_work
from introspection.experiments.battery.measure import battery_conversations
from introspection.files import read_json
from introspection.injection.cells import cell_trials, cells_of, encode_all
from introspection.injection.dose import QUESTIONS, Dose
from introspection.injection.vectors import random_vectors
from introspection.names import random_name

SIZES = (1, 2, 4, 8, 32, 96)
INJECTIONS = 8


class Cost(NamedTuple):
    """Of so many questions under every injection and none: the best time, and the tokens that the blocks compute."""

    questions: int
    seconds: float
    block_tokens: int


def costs(sizes: tuple[int, ...] = SIZES, key: str = ORGANISM) -> list[Cost]:
    """What the first questions of the battery cost, for each of these numbers of them."""
    model, asked = organism(key), stimuli()
    encoded = encode_all(model.tokenizer, battery_conversations(asked, asked.battery()))
    dose = read_json(ROOT / "results" / key / QUESTIONS, Dose)
    injections = dose.injections(map(random_name, range(1, INJECTIONS + 1)))
    directions = {name: vector.directions for name, vector in random_vectors(model, INJECTIONS, seed=3)}
    found = []
    for size in sizes:
        questions = dict(islice(encoded.items(), size))
        trials = cell_trials(questions, cells_of(list(questions), injections))

        def once(trials: list[Trial] = trials) -> Outputs:
            return {"states": run_trials(model, trials, directions, layers=[len(model.blocks)]).numpy()}

        work = count_work(trials, len(model.blocks), tokens_that_fit(model))
        found.append(Cost(size, timed(once, at_most=3)[0], work.block_tokens))
    return found


@click.command()
@click.argument("model", default=ORGANISM)
def main(model: str) -> None:
    """For MODEL print time and count for growing numbers of questions, and what one more costs beside the first."""
    found = costs(key=model)
    first = found[0]
    click.echo(f"{INJECTIONS} injections and none; turn 1 is read with the first question")
    for each in found:
        ratios = each.seconds / first.seconds, each.block_tokens / first.block_tokens
        line = f"{each.questions:3} questions: {each.seconds:7.3f} s, {each.block_tokens:11,} block tokens"
        line += f"; {ratios[0]:.2f} and {ratios[1]:.2f} times the first alone"
        if each is not first:
            more = each.questions - first.questions
            line += (
                f"; one more costs {(ratios[0] - 1) / more:.1%} of it in time, {(ratios[1] - 1) / more:.1%} by count"
            )
        click.echo(line)


if __name__ == "__main__":
    main()
