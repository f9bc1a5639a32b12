"""The reference of the command line as Markdown, made from the commands themselves.

`render_markdown()` walks the click commands, so that docs/cli.md cannot say anything else than
``--help`` does. Imports every command; touches no file.
"""

from __future__ import annotations

import inspect

import click

from zoned.cli.app import COMMANDS, cli

_INTRODUCTION = """\
- **Sizes** are bytes, with K, M, G, T or KiB, MiB, ... (1024), KB, MB, ... (1000), or in hex:
  `256MiB`, `64K`, `0x1000`.
- **Zones** are named with `--zones 3-7,12`, or as in blkzone: `-o` and `-l` in 512-byte sectors
  (with the same suffixes), `-c` a number of zones. `--offset` and `--length` of `read` and `write`
  are bytes.
- **Data** goes to standard output, talk and progress to standard error. On a terminal, what loses
  data asks first; `-f` does not.
- **Exit status**: 0 done, 1 refused or failed, 2 wrong usage; `check`: 3 mended, but data was
  lost, 4 errors stay; `diff`: 1 the reports differ, 2 trouble; 130 after Ctrl-C.
- `ZONEDCTL_TRACEBACK=1` in the environment shows where an error came from; `NO_COLOR=1` turns
  colours off."""


def commands() -> list[tuple[str, click.Command]]:
    """Every command by name, in the order of the help."""
    ctx = click.Context(cli, info_name="zonedctl")
    found = []
    for name in COMMANDS:
        command = cli.get_command(ctx, name)
        assert command is not None
        found.append((name, command))
    return found


def example_lines(command: click.Command) -> list[str]:
    """What a command's help shows as examples."""
    lines = inspect.cleandoc((command.epilog or "").replace("\b", "")).splitlines()
    if "Example:" not in lines:
        return []
    return [line.strip() for line in lines[lines.index("Example:") + 1 :] if line.strip()]


def _usage(name: str, command: click.Command) -> str:
    group = isinstance(command, click.Group)
    parts = ["zonedctl", name, *(["COMMAND"] if group else []), "[OPTIONS]"]
    for param in command.params:
        if isinstance(param, click.Argument):
            word = (param.name or "").upper()
            parts.append(word if param.required else f"[{word}]")
    return " ".join(parts)


def _option_row(ctx: click.Context, param: click.Option) -> str:
    record = param.get_help_record(ctx)
    assert record is not None
    names, text = record
    return f"| `{names.replace('|', chr(92) + '|')}` | {text.replace('|', chr(92) + '|')} |"


def _paragraphs(text: str) -> str:
    return "\n\n".join(
        " ".join(part.split()) for part in inspect.cleandoc(text).replace("\b\n", "").split("\n\n")
    )


def render_markdown() -> str:
    """docs/cli.md: every command with usage, help, options and examples."""
    lines = [
        "# The command `zonedctl`",
        "",
        "Made from the commands' own help. `zonedctl COMMAND --help` says the same.",
        "",
        *_INTRODUCTION.splitlines(),
        "",
        "| Command | |",
        "|---|---|",
        *(f"| [`{name}`](#{name}) | {COMMANDS[name][1]} |" for name in COMMANDS),
        "",
    ]
    parent = click.Context(cli, info_name="zonedctl")
    for name, command in commands():
        lines += _section("##", name, command, parent)
        if isinstance(command, click.Group):
            for part, below in command.commands.items():
                lines += _section("###", f"{name} {part}", below, parent)
    return "\n".join(lines)


def _section(mark: str, name: str, command: click.Command, parent: click.Context) -> list[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    options = [
        param
        for param in command.get_params(ctx)
        if isinstance(param, click.Option) and not param.hidden
    ]
    return [
        *(f"{mark} {name}", "", "```", _usage(name, command), "```", ""),
        *(_paragraphs(command.help or ""), "", "| Option | |", "|---|---|"),
        *(_option_row(ctx, param) for param in options),
        *("", "```sh", *example_lines(command), "```", ""),
    ]
