"""The command group: finds commands, imports only the one that is asked for, turns failures into
sentences.

The table `COMMANDS` names every command with its module and its one-line help, so that ``zonedctl
--help`` and shell completion import none of them. Every exception that a command lets through ends
here: as one sentence on stderr and an exit status.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from zoned.plaintext import for_terminal

#: name -> (module in zoned.cli, one-line help); in the order in which the help lists them.
COMMANDS: dict[str, tuple[str, str]] = {
    "create": ("create", "Make a new disk in a file."),
    "info": ("info", "Tell what a disk is, what it holds and who has it open."),
    "report": ("report", "Report zones: text, json, csv, blkzone's or zbd's format."),
    "capacity": ("report", "Sum the capacities of zones, as blkzone capacity does."),
    "diff": ("diff", "Compare two zone reports."),
    "reset": ("manage", "Reset zones: empty again, their data gone."),
    "open": ("manage", "Open zones explicitly."),
    "close": ("manage", "Close open zones."),
    "finish": ("manage", "Finish zones: full, whatever was written."),
    "flush-zone": ("manage", "Commit what is in a zone's random write area."),
    "set-condition": ("manage", "Make zones read-only, offline, or good again."),
    "read": ("data", "Read data to a file or pipe."),
    "write": ("data", "Write a file or pipe to zones."),
    "check": ("check", "Check a disk image, and mend it."),
    "power": ("power", "Cut a disk's power, give it back, list what may survive."),
    "faults": ("faults", "Make a disk fail on purpose: set, list and clear fault rules."),
    "trace": ("trace", "Record, show, replay and judge the commands that a disk gets."),
    "dump": ("move", "Pack a disk into one portable, compressed file."),
    "restore": ("move", "Make a disk from a dump."),
    "mkfs": ("mkfs", "Make a zonefs on a disk: every zone a file."),
    "mount": ("mount", "Mount the zonefs on a disk, for every program to use."),
    "remount": ("mount", "Change a mount, or make it writable again."),
    "run": ("run", "Run a program that finds disks as block devices, without root."),
    "crash-test": ("crash_test", "Cut the power under a program; try every disk that is left."),
    "mark": ("crash_test", "Within a crash test's workload: say what is safe from now on."),
    "shell": ("run", "Start a shell in which disks are block devices."),
    "export": ("export", "Serve disks to kernels and VMs by iSCSI, NVMe/TCP and ublk."),
    "bench": ("bench", "Run write patterns on modelled drives, in virtual time."),
    "completion": ("completion", "Print the completion script for a shell."),
}

EPILOG = """\b
Sizes    bytes with K, M, G, T or KiB, MiB, ... (1024), KB, MB, ... (1000), or hex
Zones    --zones 3-7,12; or -o SECTOR and -l SECTORS or -c ZONES, as in blkzone
Exit     0 done, 1 refused or failed, 2 wrong usage; check: 4 errors stay;
         diff: 1 the reports differ

\b
Example:
  zonedctl create disk.img --size 64MiB --zone-size 4MiB --conventional 2
  zonedctl write disk.img --zone 3 < file
  zonedctl report disk.img
"""

#: What writing can meet. Files that commands write are named in the error; stdout has no name.
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)

PIPE_CLOSED = 128 + signal.SIGPIPE


class Failure(click.ClickException):
    """A command that was refused or failed: one sentence, and the exit status."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.status = exit_code


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived; raised so that unfinished files are removed on the way out.

    A KeyboardInterrupt, because Python's own code lets nothing else through everywhere: its
    compiler drops other exceptions that a signal raises while it works out ``2**60``.
    """


class App(click.Group):
    """The group ``zonedctl``: commands from the table, one sentence per failure."""

    #: Whether this process is zonedctl's, so that its signals are the command's to answer.
    owns_process = False

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"zoned.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name.replace("-", "_") + "_command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(COMMANDS)}"
            if name in ("unmount", "umount"):
                hint = "; fusermount3 -u DIR unmounts, or as root umount DIR"
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        found = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:
            _begin(name, args)
        return found

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=text)
            for name, (_, text) in COMMANDS.items()
            if name.startswith(incomplete)
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise Failure("", PIPE_CLOSED) from error
        except (KeyboardInterrupt, RuntimeError) as error:
            if (signalled := _signal_behind(error)) is None:
                raise
            raise stopped(signalled) from error
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            if os.environ.get("ZONEDCTL_TRACEBACK"):
                raise
            raise Failure(sentence(error)) from error
        except click.exceptions.NoArgsIsHelpError as error:  # a group without a command
            if error.ctx is not None:
                click.echo(error.ctx.get_help(), err=True)
            raise Failure("", click.UsageError.exit_code) from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but every failure is one sentence, and a command's int result the exit
        status."""
        prog_name = prog_name or "zonedctl"
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        status = 0
        try:
            result = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
            status = result if isinstance(result, int) else 0
            _flush()
        except click.Abort as error:  # a signal or end of input at a question, its line still open
            cause = error.__context__
            signalled = cause if isinstance(cause, KeyboardInterrupt) else KeyboardInterrupt()
            failure = stopped(signalled)
            status = failure.status
            with contextlib.suppress(OSError):
                click.echo(err=True)
            say_error(failure.message)
        except click.UsageError as error:
            status = error.exit_code
            where = error.ctx.command_path if error.ctx else "zonedctl"
            text = error.format_message().rstrip(".")
            text = text[:1].lower() + text[1:] if text[:2].istitle() else text
            say_error(f"{' '.join(text.split())} (see {where} --help)", where)
        except click.ClickException as error:
            status = error.status if isinstance(error, Failure) else error.exit_code
            if error.message:
                say_error(error.format_message())
        except BrokenPipeError:  # at the help or the version, before any command
            status = PIPE_CLOSED
        except OSError as error:
            if os.environ.get("ZONEDCTL_TRACEBACK"):
                raise
            status = 1
            say_error(sentence(error))
        sys.exit(status)


def example(*lines: str) -> str:
    """The epilog of a command's help: lines to type, kept as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def say_error(message: str, who: str = "zonedctl") -> None:
    """One line on stderr; nothing if stderr is gone too."""
    with contextlib.suppress(OSError):
        click.echo(f"{who}: {for_terminal(whole(message))}", err=True)


def echo(text: str, err: bool = False) -> None:
    """One line with names or texts of others in it, of which a terminal obeys none."""
    click.echo(for_terminal(text), err=err)


_SURROGATES = re.compile(r"(?:\\udc[89a-f][0-9a-f])+")


def whole(text: str) -> str:
    """A text of repr() or JSON with the letters that Python, in an ASCII locale, has as bytes."""

    def letters(match: re.Match[str]) -> str:
        raw = bytes(int(code, 16) & 0xFF for code in match[0].split("\\ud")[1:])
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return match[0]

    return _SURROGATES.sub(letters, text)


def stopped(error: KeyboardInterrupt, *told: str) -> Failure:
    """What a signal ended: with the process for which a call had waited, if one had, and what else
    there is to tell."""
    word, number = "interrupted", int(signal.SIGINT)
    if isinstance(error, Terminated):
        word, number = "terminated", int(error.args[0])
    return Failure("; ".join([word, *getattr(error, "__notes__", ()), *told]), 128 + number)


def _signal_behind(error: BaseException | None) -> KeyboardInterrupt | None:
    """What a signal raised, if an exception is that or was made of it: Python 3.11 wraps in a
    RuntimeError what comes while it makes the class of an imported module."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__
    return error


def _names(text: str, file: str) -> bool:
    """Whether a sentence says already which file it is about. A file may be called as a word of the
    sentence is ("image"), or as a part of one: only a path with a slash cannot be one by chance."""
    return text.startswith(f"{file}: ") or ("/" in file and file in text)


def sentence(error: BaseException) -> str:
    """One sentence from an exception: of the library as it is, of the host with the file's name."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, OSError) and type(error).__str__ is OSError.__str__ and error.strerror:
        text = error.strerror
        bare = error.errno is not None and text == os.strerror(error.errno)  # the host's own words
        if error.filename is not None and (bare or not _names(text, os.fsdecode(error.filename))):
            text = f"{os.fsdecode(error.filename)}: {text}"
        elif bare and error.errno in _OF_OUTPUT:
            text = f"cannot write to standard output: {text}"
        return text
    return str(error) or type(error).__name__  # a newline in it is a name's: see say_error()


@click.command(
    "zonedctl",
    cls=App,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    *("-V", "--version"),
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _print_version(ctx) if value else None,
    help="Print the version and end.",
)
def cli() -> None:
    """Work with emulated zoned disks (host-managed SMR, ZNS) from the shell."""


def _print_version(ctx: click.Context) -> NoReturn:
    from zoned import __version__

    click.echo(f"zonedctl {__version__}")
    ctx.exit()


def _flush() -> None:
    """The last of the output: where a full disk or a reader that left is often noticed."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise Failure("", PIPE_CLOSED) from error
    except OSError as error:
        raise Failure(f"cannot write to standard output: {error.strerror or error}") from error


#: Commands that mostly touch no disk.
_WITHOUT_DISK = ("completion", "bench")


def _begin(name: str, args: Sequence[str]) -> None:
    """From here on signals are the command's to answer; before, they simply ended the process.

    What nearly every command needs is loaded first: an import is no place for an exception.
    """
    if not cli.owns_process:
        return
    if name not in _WITHOUT_DISK and not {"-h", "--help"} & set(args):
        importlib.import_module("zoned.device")
    for number, handler in _ANSWERS.items():
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handler)


def _end() -> None:
    """The command has ended: signals end the process again, without Python's lines about it."""
    for number, handler in _ANSWERS.items():
        if signal.getsignal(number) is handler:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, _: FrameType | None) -> NoReturn:
    raise Terminated(number)


#: What a command makes of signals that end it, where they are not ignored.
_ANSWERS: dict[signal.Signals, Callable[[int, FrameType | None], object]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: _terminate,
    signal.SIGHUP: _terminate,
}


def run() -> NoReturn:
    """The whole life of the process ``zonedctl``."""
    _open_standard_streams()
    cli.owns_process = True
    status = 1
    try:
        cli.main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except (KeyboardInterrupt, RuntimeError) as error:  # outside of a command: starting, ending
        if (signalled := _signal_behind(error)) is None:
            raise
        _end()
        failure = stopped(signalled)
        status = failure.status
        say_error(failure.message)
    _end()
    leave(status)


def _open_standard_streams() -> None:
    """Started without one of them: the image would get its number, and Python has no stream.

    Whatever the locale is, text is UTF-8 where that says ASCII, and what cannot be written in it,
    such as the name of a file, comes out as the bytes that it has on the host.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            how = "surrogateescape" if mode == "r" else "zonedctl-bytes"
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="utf-8" if ascii_only else None, errors=how)


def _as_on_the_host(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an output's encoding has no place for, as the bytes that the host's file names have."""
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    try:
        return os.fsencode(text), error.end
    except UnicodeEncodeError:
        return text.encode("ascii", "backslashreplace"), error.end


codecs.register_error("zonedctl-bytes", _as_on_the_host)


def leave(status: int) -> NoReturn:
    """End the process; what is left in stdout's buffer when its reader went away is dropped
    quietly."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _forget_interrupt()
    raise SystemExit(status)


def _forget_interrupt() -> None:
    """Let the status stand after an interrupt that was answered.

    CPython keeps a mark when a KeyboardInterrupt leaves the source text that ``exec`` runs (a
    dataclass being made in an import), whoever catches it later; a ``python -m`` with the mark ends
    by SIGINT and not with its status. The next text that runs takes the mark away.
    """
    exec("")  # noqa: S102 - a text without a word in it
