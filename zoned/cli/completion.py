"""``zonedctl completion``: the script that makes a shell complete commands, options and image
paths."""

from __future__ import annotations

import click

from zoned.cli.app import Failure, example


@click.command(
    "completion",
    epilog=example(
        'eval "$(zonedctl completion bash)"                                # in ~/.bashrc',
        'eval "$(zonedctl completion zsh)"                                 # in ~/.zshrc',
        "zonedctl completion fish > ~/.config/fish/completions/zonedctl.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="SHELL")
def completion_command(shell: str) -> None:
    """Print the completion script for SHELL: bash (4.4 or newer), zsh or fish."""
    from click.shell_completion import get_completion_class

    from zoned.cli.app import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"no completion is known for {shell}")
    # Not source(): for bash that runs bash to look at its version, and this may not be the machine.
    made = kind(cli, {}, "zonedctl", "_ZONEDCTL_COMPLETE")
    click.echo(made.source_template % made.source_vars())
