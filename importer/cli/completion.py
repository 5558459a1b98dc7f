"""`importer completion`: the lines that teach a shell our commands, options, files and campaigns.

Floor: cli. The scripts are click's own. Completing asks `importer` itself, so it must answer at once: no command loads
anything heavy before it runs.
"""

from __future__ import annotations

import click

from importer.cli.options import examples

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_IMPORTER_COMPLETE"
_HOW = {
    "bash": 'eval "$(importer completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(importer completion zsh)" in ~/.zshrc, after compinit',
    "fish": "importer completion fish >~/.config/fish/completions/importer.fish",
}


@click.command(
    "completion",
    short_help="Print the completion script of a shell.",
    epilog=examples(
        'eval "$(importer completion bash)"',
        "importer completion fish >~/.config/fish/completions/importer.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what makes SHELL complete our commands, options, files and campaigns with the Tab key.

    For good: a line in the file that your shell starts with, as the examples show; for zsh as for bash, in ~/.zshrc.
    """
    from click.shell_completion import get_completion_class

    from importer.cli import cli

    found = get_completion_class(shell)
    if found is None:  # click has all three
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(found(cli, {}, "importer", VARIABLE).source())
    click.echo(f"To have it always: {_HOW[shell]}", err=True)
