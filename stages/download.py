"""Bring one data file to data/raw, from the source that params.yaml names."""

from __future__ import annotations

from pathlib import Path

import click

from introspection.fetching.download import BASE_URL, DownloadError, copy_data, download_data
from introspection.settings import SettingsError, load_settings
from introspection.sources.datasets import DATA_SETS


@click.command()
@click.argument("name", type=click.Choice(list(DATA_SETS)))
@click.option("--base-url", default=BASE_URL, show_default=True, help="Where the original files are.")
def main(name: str, base_url: str) -> None:
    """Write data/raw/suffixes.json or data/raw/contrast_prompts.csv.

    A path of the user's own in params.yaml (data.suffixes, data.contrast_prompts) wins over data.source.
    """
    data_set = DATA_SETS[name]
    target = Path("data/raw") / data_set.builtin
    try:
        settings = load_settings(Path("params.yaml")).data
        path = settings.suffixes if name == "suffixes" else settings.contrast_prompts
        if path is not None:
            copy_data(data_set, Path(path), target)
        elif settings.source == "builtin":
            copy_data(data_set, Path("data/builtin") / data_set.builtin, target)
        else:
            download_data(data_set, target, base_url=base_url)
    except (DownloadError, SettingsError) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
