"""``zonedctl mount``: zonefs.mount from the shell, in the background once it is ready.

The command waits until the background process has reported (zoned.cli.background), so that a
failure is this command's failure.
"""

from __future__ import annotations

import errno
import os
import syslog
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from zoned.cli import background
from zoned.cli.app import echo, example
from zoned.cli.ask import say
from zoned.cli.params import image_argument

if TYPE_CHECKING:
    from zonefs import Mount

_ERRORS = ("remount-ro", "zone-ro", "zone-offline", "repair")
_SWITCHES = {
    "strict": ("strict", True),
    "explicit-open": ("explicit_open", True),
    "ro": ("readonly", True),
    "rw": ("readonly", False),
    "allow_other": ("allow_other", True),
    "nonempty": ("nonempty", True),
}
_NUMBERS = {"uid": 10, "gid": 10, "perm": 8}  # and their base


class Directory(click.Path):
    """A mount point, not looked at: what is mounted there may never answer."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,  # noqa: ARG002
        ctx: click.Context | None,  # noqa: ARG002
    ) -> str:
        """As it is."""
        return os.fsdecode(value)


@dataclass(frozen=True)
class Wanted:
    """What is to be mounted, where and how."""

    image: str
    directory: str
    options: dict[str, Any]

    def mount(self) -> Mount:
        """Do it. What is write-protected is mounted read-only, as mount(8) does, unless -o rw."""
        import zonefs

        try:
            return zonefs.mount(self.image, self.directory, **self.options)
        except OSError as error:
            if "readonly" in self.options or not self._write_protected(error):
                raise
        mounted = zonefs.mount(self.image, self.directory, **self.options, readonly=True)
        echo(f"zonedctl: {self.image} is write-protected: mounted read-only", err=True)
        return mounted

    def _write_protected(self, error: OSError) -> bool:
        """Whether it failed because the image may be read, and not written."""
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            return False
        return os.access(self.image, os.R_OK) and not os.access(self.image, os.W_OK)


def _parse(text: str) -> dict[str, Any]:
    """``strict,errors=repair,uid=1000`` as keywords of zonefs.mount."""
    keywords: dict[str, Any] = {}
    for word in filter(None, text.split(",")):
        name, equals, argument = word.partition("=")
        if name in _SWITCHES and not equals:
            keyword, setting = _SWITCHES[name]
            keywords[keyword] = setting
        elif name == "errors" and argument in _ERRORS:
            keywords[name] = argument
        elif name in _NUMBERS:
            try:
                keywords[name] = int(argument, _NUMBERS[name])
            except ValueError:
                kind = "an octal" if _NUMBERS[name] == 8 else "a"
                raise click.BadParameter(f"{word!r}: {name} must be {kind} number") from None
        else:
            raise click.BadParameter(_unknown(name, equals, argument))
    return keywords


def _unknown(name: str, equals: str, argument: str) -> str:
    import difflib

    if name == "errors":
        return f"errors={argument}: it must be one of {', '.join(_ERRORS)}"
    if name in _SWITCHES and equals:
        return f"option {name} takes no value"
    known = [*_SWITCHES, "errors=", "uid=", "gid=", "perm="]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"there is no option {name!r}; {hint}"


@click.command(
    "mount",
    epilog=example(
        "zonedctl mount disk.img mnt",
        "zonedctl mount -f -o strict,errors=repair disk.img mnt",
    ),
)
@click.option("-f", "--foreground", is_flag=True, help="Stay; Ctrl-C unmounts.")
@click.option(
    *("-o", "options"),
    multiple=True,
    callback=lambda _ctx, _param, texts: (texts, [_parse(text) for text in texts]),
    metavar="OPTIONS",
    help="strict, errors=remount-ro|zone-ro|zone-offline|repair, explicit-open, ro, uid=, gid=,"
    " perm=, allow_other, nonempty; several with commas.",
)
@image_argument
@click.argument("directory", metavar="DIR", type=Directory())
def mount_command(
    foreground: bool,
    options: tuple[tuple[str, ...], list[dict[str, Any]]],
    image: str,
    directory: str,
) -> int:
    """Mount the zonefs on the disk IMAGE at the directory DIR, for every program to use.

    By default sequential files take writes of any length at their end, and belong to you; -o strict
    gives the rules of Linux's zonefs to the letter. The command ends once the mount is ready; the
    mount itself lives on in the background until it is unmounted (fusermount3 -u DIR, or as root
    umount DIR). zonedctl mkfs makes the zonefs.
    """
    texts, parsed = options
    keywords = {name: value for one in parsed for name, value in one.items()}
    wanted = Wanted(image, directory, keywords)
    report_to = background.reporting_to()
    if report_to is not None:
        return _background(wanted, report_to)
    if foreground:
        return _foreground(wanted)
    said = [word for text in texts for word in ("-o", text)]
    status = background.spawn("mount", [*said, "--", wanted.image, wanted.directory])
    say(
        verbose=False,
        text=f"mounted {image} at {directory}; fusermount3 -u {directory} unmounts it",
    )
    return status


_REMOUNT = {
    "rw": ("readonly", False),
    "ro": ("readonly", True),
    "explicit-open": ("explicit_open", True),
    "noexplicit-open": ("explicit_open", False),
}


def _parse_remount(text: str) -> dict[str, Any]:
    """``rw,errors=repair`` as keywords of zonefs.attach.remount."""
    keywords: dict[str, Any] = {}
    for word in filter(None, text.split(",")):
        name, _, argument = word.partition("=")
        if word in _REMOUNT:
            keyword, setting = _REMOUNT[word]
            keywords[keyword] = setting
        elif name == "errors" and argument in _ERRORS:
            keywords[name] = argument
        elif name == "errors":
            raise click.BadParameter(_unknown(name, "=", argument))
        else:
            known = ", ".join([*_REMOUNT, "errors="])
            raise click.BadParameter(f"{word!r} cannot be changed by a remount; there are {known}")
    return keywords


@click.command(
    "remount",
    epilog=example("zonedctl remount mnt", "zonedctl remount -o ro,errors=repair mnt"),
)
@click.option(
    *("-o", "options"),
    multiple=True,
    callback=lambda _ctx, _param, texts: [_parse_remount(text) for text in texts],
    metavar="OPTIONS",
    help="rw (the default), ro, errors=remount-ro|zone-ro|zone-offline|repair, explicit-open,"
    " noexplicit-open; several with commas.",
)
@click.argument("directory", metavar="DIR", type=Directory())
def remount_command(options: list[dict[str, Any]], directory: str) -> None:
    """Change the options of the zonefs mounted at DIR; what is not named stays.

    Without options it becomes writable again after an error made it read-only. It becomes read-only
    (ro) once no file is open for writing. root may do this, and whoever mounted it.
    """
    from zonefs import attach

    keywords = {name: value for one in options for name, value in one.items()}
    attach.remount(directory, **(keywords or {"readonly": False}))


# ---------------------------------------------------------------- the process that serves


def _foreground(wanted: Wanted) -> int:
    with wanted.mount() as mounted:
        how = f"mounted {wanted.image} at {mounted.path}; Ctrl-C, or fusermount3 -u, unmounts it"
        cause = _serve(mounted, how)
    echo(f"unmounted {mounted.path}: {cause}", err=True)
    return 0


def _background(wanted: Wanted, ready_fd: int) -> int:
    """Mount, report through the pipe, and serve without a terminal."""
    mounted = background.report(
        ready_fd,
        wanted.mount,
        lambda _: None,  # the command tells, which knows its terminal
        lambda one: one.log_to_syslog(),
        lambda one: one.unmount(force=True),
    )
    if mounted is None:
        return 1
    with mounted:
        cause = _serve(mounted)
    syslog.openlog("zonedctl", syslog.LOG_PID, syslog.LOG_DAEMON)
    syslog.syslog(syslog.LOG_INFO, f"unmounted {mounted.path}: {cause}")
    return 0


def _serve(mounted: Mount, greeting: str = "") -> str:
    """Until it ends; why it did."""

    def wait() -> None:
        if greeting:
            echo(greeting, err=True)
        mounted.wait()

    return background.until_ended(wait, "by another process")
