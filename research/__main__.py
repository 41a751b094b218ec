"""`python -m research`: the original experiment again, and ablations and comparisons of the shipped recipes."""

import click

from research.ablation.command import ablation
from research.comparison.command import comparison
from research.reproduction.command import reproduction
from training.__main__ import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
def main() -> None:
    """Reproduce the original experiment, or train the shipped recipes with one part left out at a time."""
    from training.loop.hardware import set_omp_wait_policy

    set_omp_wait_policy()


for command in (reproduction, ablation, comparison):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="python -m research")
