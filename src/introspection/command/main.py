"""The command `introspection` and its parts."""

from __future__ import annotations

import click

from introspection.command.compare import compare
from introspection.command.trying import try_


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="introspection")
def main() -> None:
    """Does a language model notice what was put into its mind? To be run in a checkout of the repository."""


main.add_command(try_)
main.add_command(compare)
