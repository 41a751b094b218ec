"""`--set TABLE.KEY=VALUE`, as the commands that take a configuration share it."""

from collections.abc import Iterable

import click


def parsed(overrides: Iterable[str]) -> dict[str, str]:
    """Values by `table.key`, as `training.config.load_config` takes them.

    Raises:
        click.BadParameter: one has no equals sign.
    """
    changes = {}
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise click.BadParameter(f"{override!r} is not TABLE.KEY=VALUE", param_hint="--set")
        changes[key] = value
    return changes
