"""introspection compare: are these results those?"""

from __future__ import annotations

from pathlib import Path

import click

from introspection.command.explained import explained
from introspection.terminal import printable


@click.command()
@click.argument("against", default="HEAD")
@click.option(
    "--results",
    metavar="FOLDER",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The checkout or folder whose results are looked at.",
)
@click.option("--markdown", is_flag=True, help="A table for a pull request.")
@click.pass_context
def compare(context: click.Context, against: str, results: Path, markdown: bool) -> None:
    """Compare the results of this checkout with those AGAINST: a git revision, or a folder.

    HEAD, the default, is what was committed. Exit status: 0 where all is within the tolerances, 1 where something is
    beyond, 2 where there is nothing to compare.
    """
    with explained():
        from introspection.reproduction import told
        from introspection.reproduction.differences import compare_results
        from introspection.reproduction.places import results_of

        with results_of(against) as before, results_of(str(results)) as after:
            found = compare_results(before, after)
    if markdown:
        click.echo(printable(told.markdown(found)))
    else:
        click.echo(printable("\n".join([*told.lines(found), told.summary(found)])))
    context.exit(int(any(each.is_beyond for each in found)))
