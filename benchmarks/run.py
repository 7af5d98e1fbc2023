"""Run all benchmarks and write their tables.

benchmarks/results.md shows them all, benchmarks/results.json has every figure, and the README the main table.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import psutil
import torch
from transformers.utils import logging as transformers_logging

from benchmarks import coarse, growth, study, sweep, vectors
from benchmarks import counts as count
from benchmarks.measure import BY_PROCESSOR_TIME
from benchmarks.table import Row, as_markdown, as_records, parts_as_markdown, summary

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
BEGIN, END = "<!-- written by make bench -->\n", "<!-- end -->\n"
SUITES: dict[str, Callable[[], list[Row]]] = {
    "study": study.run,
    "vectors": vectors.run,
    "sweep": sweep.run,
    "coarse": coarse.run,
}
PACKAGES = ("torch", "transformers", "repeng", "numpy", "introspection")


@click.command()
@click.option("--counts", is_flag=True, help="Only count what either side computes; measure and write nothing.")
@click.option("--only", type=click.Choice(list(SUITES)), multiple=True, help="Run only these, and write nothing.")
def main(counts: bool, only: tuple[str, ...]) -> None:
    """Measure, compare and write. Ends with an error where an output differs or a target is missed."""
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    if counts:
        click.echo(_counts([asdict(each) | {"ratio": each.ratio} for each in count.run()]))
        return
    begun = time.perf_counter()
    rows: list[Row] = []
    results: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": _machine(),
        "clock": "processor, one thread" if os.environ.get(BY_PROCESSOR_TIME) else "wall",
        "versions": {package: version(package) for package in PACKAGES},
        "counts": [asdict(each) | {"ratio": each.ratio} for each in count.run()],
        "coarse_to_fine": [],
        "growth": [],
        "h200": _of_gpu(),
    }

    def write() -> None:
        """After every part, so that what was measured is there if a later one is stopped."""
        if not only:
            results["table"], results["seconds"] = as_records(rows), time.perf_counter() - begun
            _write(HERE / "results.json", json.dumps(results, indent=2) + "\n")
            _write(HERE / "results.md", _page(rows, results))
            _write(README, _with_table(README.read_text(encoding="utf-8"), summary(rows)))

    for name in only or SUITES:
        rows += SUITES[name]()
        write()
        click.echo(as_markdown(rows))
    if not only:
        results["coarse_to_fine"] = coarse.distances()
        write()
        results["growth"] = growth.run()
        write()
        click.echo(_page(rows, results))
    wrong = [row for row in rows if row.difference > row.tolerance]
    missed = [row for row in rows if not row.met]
    if wrong:
        raise click.ClickException("other outputs than the baseline's: " + "; ".join(row.benchmark for row in wrong))
    if missed:
        raise click.ClickException("targets missed: " + "; ".join(row.benchmark for row in missed))


def _with_table(page: str, table: str) -> str:
    """The page with this table between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _of_gpu() -> Any:
    """What benchmarks/h200.py has measured, if it has been run on a GPU."""
    path = HERE / "h200.json"
    return json.loads(path.read_text()) if path.is_file() else None


def _page(rows: list[Row], results: dict[str, Any]) -> str:
    machine, packages = results["machine"], results["versions"]
    device = machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}"
    parts = [
        "# Benchmarks",
        f"Measured by `make bench` in one run of {results['seconds'] / 60:.0f} minutes on {results['date']}: {device}, "
        f"{machine['threads']} threads, clock: {results['clock']}, "
        + ", ".join(f"{name} {number}" for name, number in packages.items())
        + ".",
        "Each row is one model, one set of data and one machine; both sides run in processes of their own, one after "
        "the other, and their outputs are compared: a difference above the tolerance makes the run fail. *By the "
        "counts* is the ratio of the tokens that the model's blocks compute on either side. Peak memory is what was "
        "taken beyond the loaded model. A target below the counts' ratio is 0.95 of it.",
        as_markdown(rows),
        "What limits a row: the floor is the time that the counted matrix products would take at the rate of a plain "
        "one of the same width, and the share says how near the engine comes to it; the rest goes to norms, softmax, "
        "splitting slots, tokenizing and planning. *In lanes* is the share where every core has a process of one "
        "thread and all do the same at once, which is how `make reproduce` runs its stages: one thread waits for no "
        "other while Python plans and calls. A ratio above that of the counts says that the baseline's "
        "many small passes come less near.",
        "## Where the engine's time goes",
        parts_as_markdown(rows)
        + "\n\nOf one more run, by torch's profiler. Attention is a softmax as well as products, of which the rate of "
        "a plain product says nothing.",
        "## By the counts alone",
        _counts(results["counts"]),
        "## Coarse to fine: how far its best range is from the best of all",
        _distances(results["coarse_to_fine"]),
        "## How time grows",
        _growth(results["growth"]),
        "## The shape of Qwen2.5-Coder-32B on a GPU",
        _gpu(results["h200"]),
    ]
    return "\n\n".join(parts) + "\n"


def _counts(found: list[dict[str, Any]]) -> str:
    lines = ["| benchmark | block tokens | the baseline's | ratio |", "|---|---|---|---|"]
    lines += ["| {benchmark} | {ours:,} | {baseline:,} | {ratio:.3g} |".format(**each) for each in found]
    return "\n".join(lines)


def _distances(found: list[dict[str, Any]]) -> str:
    if not found:
        return "Not measured in this run, which was stopped before."
    lines = [
        "| model | vector | ranges measured | best of all | found | ranges that are better | p(yes) below the best |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        lines.append(
            f"| {each['model']} | {each['vector']} | {each['measured']} of {each['ranges']} | {each['best']} | "
            f"{each['found']} | {each['better_ranges']} | {each['p_yes_below_best']:.2g} |"
        )
    lines += [
        "",
        "What is added after the last block leaves no key or value, so ranges that differ in it alone are equal.",
    ]
    return "\n".join(lines)


def _growth(found: list[dict[str, Any]]) -> str:
    if not found:
        return "Not measured in this run, which was stopped before."
    lines = ["| what grows | sizes | seconds | exponent of time | exponent of the count |", "|---|---|---|---|---|"]
    for each in found:
        seconds = ", ".join(f"{value:.3g}" for value in each["seconds"])
        lines.append(
            f"| {each['what']} | {', '.join(map(str, each['sizes']))} | {seconds} | {each['exponent_of_time']:.2f} | "
            f"{each['exponent_of_block_tokens']:.2f} |"
        )
    return "\n".join(lines)


def _gpu(found: Any) -> str:
    if found is None:
        return (
            "Not measured: no GPU was at hand. `python -m benchmarks.h200` measures it where there is one, in one call "
            "and writes `benchmarks/h200.json`, which this page then shows."
        )
    lines = [
        f"{found['device']}, {found['date']}.",
        "",
        "| what | seconds | share of a matrix product's rate |",
        "|---|---|---|",
    ]
    lines += [f"| {row['what']} | {row['seconds']:.1f} | {row['share']:.0%} |" for row in found["rows"]]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


if __name__ == "__main__":
    main()
