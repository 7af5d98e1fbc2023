"""Hold the results against earlier ones: python stages/compare.py FOLDER; ends with an error where they differ."""

from __future__ import annotations

from pathlib import Path

import click
from common import stage

from introspection.comparison import TOLERANCE, compare_results
from introspection.files import RESULTS
from introspection.settings import Settings


@stage
def main(_settings: Settings, before: Path) -> None:
    """Compare results/ with the folder BEFORE, file by file."""
    found = compare_results(before, RESULTS)
    for each in found:
        if each.largest:
            told = each.problem or f"{each.where} by {each.largest:.2g} at most"
            click.echo(f"{'NO ' if each.problem else '   '} {each.file}: {told}")
    same, beyond = sum(not each.largest for each in found), sum(bool(each.problem) for each in found)
    click.echo(
        f"{len(found)} files: {same} the same, {len(found) - same - beyond} within {TOLERANCE:g}, {beyond} beyond"
    )
    if beyond:
        raise click.ClickException(f"{beyond} files are not reproduced within {TOLERANCE:g}")


main.params.append(click.Argument(["before"], type=click.Path(exists=True, file_okay=False, path_type=Path)))

if __name__ == "__main__":
    main()
