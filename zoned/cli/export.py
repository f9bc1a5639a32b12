"""``zonedctl export``: disks as iSCSI targets, in the foreground or in the background; which there
are, and their end.
"""

from __future__ import annotations

import logging
import sys
import syslog
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from zoned.cli import background
from zoned.cli.app import Failure, echo, example
from zoned.cli.documents import dumps
from zoned.cli.params import FilePath, format_option
from zoned.plaintext import for_terminal
from zoned.units import counted, human_size

if TYPE_CHECKING:
    from zoned.export import Iscsi

_DEFAULT_LISTEN = "127.0.0.1:3260"
_PATIENCE = 30.0  # seconds that `stop` waits for an export's end
_HELP = """Serve disks to whoever speaks a storage protocol: kernels, virtual machines, programs.

They see a real drive's answers, sense data included; the disk may be open here, and mounted, at the
same time."""


@click.group(
    "export",
    help=_HELP,
    epilog=example(
        "zonedctl export iscsi disk.img", "zonedctl export list", "zonedctl export stop disk.img"
    ),
)
def export_command() -> None:
    """The group; its help is above."""


@dataclass(frozen=True)
class Wanted:
    """What is to be served, and how."""

    images: tuple[str, ...]
    options: dict[str, Any]
    chap_file: str | None

    def words(self) -> list[str]:
        """The same on a command line."""
        found = [f"--chap-file={self.chap_file}"] if self.chap_file else []
        for name, value in self.options.items():
            word = {"initiators": "initiator", "luns": "lun"}.get(name, name).replace("_", "-")
            if isinstance(value, list):
                found += [f"--{word}={one}" for one in value]
            elif isinstance(value, str):
                found.append(f"--{word}={value}")
            elif value:
                found.append(f"--{word}")
        return [*found, "--", *self.images]

    def serve(self) -> Iscsi:
        """Do it. The secrets are read here, in the process that needs them."""
        from zoned.export import iscsi, read_chap_file
        from zoned.export.chap import from_environment

        chap = read_chap_file(self.chap_file) if self.chap_file else from_environment()
        return iscsi(*self.images, chap=chap, **self.options)


@export_command.command(
    "iscsi",
    epilog=example(
        "zonedctl export iscsi disk.img",
        "zonedctl export iscsi -d --iqn iqn.2026-01.org.example:disks a.img b.img",
        "zonedctl export iscsi --listen 192.0.2.1:3260 --chap-file secrets disk.img",
    ),
)
@click.option(
    *("-d", "--background", "in_background"),
    is_flag=True,
    help="Serve in the background; the command ends once initiators can log in.",
)
@click.option(
    "--listen",
    multiple=True,
    default=(_DEFAULT_LISTEN,),
    show_default=True,
    metavar="HOST:PORT",
    help="Where; several times for several. Port 0: a free one.",
)
@click.option(
    "--chap-file",
    type=FilePath(),
    metavar="FILE",
    help="Who may log in, a line each: NAME SECRET; and what the target proves itself by: mutual"
    " NAME SECRET. Without it, ZONED_CHAP_USER and ZONED_CHAP_SECRET of the environment.",
)
@click.option(
    "--initiator",
    "initiators",
    multiple=True,
    metavar="NAME",
    help="Only this one; * and ? are known.",
)
@click.option("--iqn", metavar="NAME", help="The target's name. Default: made of the disk's uuid.")
@click.option(
    "--lun",
    "luns",
    type=click.IntRange(0, 255),
    multiple=True,
    metavar="N",
    help="LUN of each IMAGE, in their order. Default: 0, 1, ...",
)
@click.option("--separate", is_flag=True, help="A target for each IMAGE, instead of a LUN.")
@click.option("--readonly", is_flag=True, help="Write-protected.")
@click.option(
    "--no-auth", is_flag=True, help="Serve anybody who reaches the address, without CHAP."
)
@click.option("--discovery-auth", is_flag=True, help="CHAP for discovery sessions, too.")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=FilePath())
def iscsi_command(
    in_background: bool,
    listen: tuple[str, ...],
    chap_file: str | None,
    initiators: tuple[str, ...],
    iqn: str | None,
    luns: tuple[int, ...],
    separate: bool,
    readonly: bool,
    no_auth: bool,
    discovery_auth: bool,
    images: tuple[str, ...],
) -> int:
    """Serve the disks IMAGE... as LUNs of an iSCSI target: host-managed SCSI disks (ZBC).

    It stays in the foreground and tells how to attach; Ctrl-C ends it, initiators are asked to log
    out first. Addresses that others than this machine reach need CHAP, or --no-auth said aloud.
    """
    options = {
        "listen": list(listen),
        "initiators": list(initiators) or None,
        "iqn": iqn,
        "luns": list(luns) or None,
        "separate": separate,
        "readonly": readonly,
        "no_auth": no_auth,
        "discovery_auth": discovery_auth,
    }
    wanted = Wanted(images, options, chap_file)
    report_to = background.reporting_to()
    if report_to is not None:
        return _background(wanted, report_to)
    if in_background:
        return background.spawn("export iscsi", wanted.words())
    return _foreground(wanted)


# ---------------------------------------------------------------- the process that serves


def _how_to_attach(export: Iscsi) -> list[str]:
    """Lines to type, of each target."""
    lines = []
    for target in export.targets:
        lun = min(target.images)
        user = export.url.partition("//")[2].rpartition("@")[0]
        url = f"iscsi://{user + '@' if user else ''}{export.address}/{target.iqn}/{lun}"
        lines += [
            f"serving {', '.join(str(path) for path in target.images.values())}",
            f"  Linux     iscsiadm -m discovery -t st -p {export.address}",
            f"            iscsiadm -m node -T {target.iqn} -p {export.address} --login",
            f"  QEMU      -drive file={url},if=none,id=zoned",
            "            -device virtio-scsi -device scsi-generic,drive=zoned",
            f"  libiscsi  iscsi-inq {url}",
        ]
    return lines


def _foreground(wanted: Wanted) -> int:
    logging.basicConfig(format="zonedctl: %(message)s", stream=sys.stderr)
    with wanted.serve() as export:
        for line in _how_to_attach(export):
            echo(line, err=True)
        # What scripts wait for: by then initiators can log in.
        click.echo(export.url)
        sys.stdout.flush()
        cause = _serve(export)
    echo(f"no longer served: {cause}", err=True)
    return 0


class _Syslog(logging.Handler):
    """What is logged, to syslog."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        syslog.syslog(syslog.LOG_WARNING, record.getMessage())


def _background(wanted: Wanted, ready_fd: int) -> int:
    """Serve, report through the pipe, and go on without a terminal."""
    export = background.report(
        ready_fd, wanted.serve, _log_to_syslog, lambda one: one.close(grace=0)
    )
    if export is None:
        return 1
    with export:
        cause = _serve(export)
    syslog.syslog(syslog.LOG_INFO, f"{export.iqn} is no longer served: {cause}")
    return 0


def _log_to_syslog(_: Iscsi) -> None:
    syslog.openlog("zonedctl", syslog.LOG_PID, syslog.LOG_DAEMON)
    logging.getLogger("zoned").addHandler(_Syslog())


def _serve(export: Iscsi) -> str:
    """Until it is to end; why."""
    return background.until_ended(export.wait, "asked by another process")


# ---------------------------------------------------------------- looking, stopping


@export_command.command(
    "list", epilog=example("zonedctl export list", "zonedctl export list --format json")
)
@format_option("text", "json")
def list_command(form: str) -> None:
    """List the exports of this user: processes, targets, disks, who is logged in."""
    from zoned.export import registry

    found = registry.running()
    if form == "json":
        click.echo(dumps({"exports": found}, indent=2))
        return
    for export in found:
        for line in describe(export):
            sys.stdout.write(for_terminal(line) + "\n")
    if not found:
        echo("nothing is exported", err=True)


def describe(export: dict[str, Any]) -> list[str]:
    """An export as lines of text."""
    lines = [f"{export['kind']} at {', '.join(export['addresses'])}, pid {export['pid']}"]
    for target in export["targets"]:
        lines.append(f"  target {target['iqn']}")
        lines += [
            f"    LUN {lun}: {path if path is not None else 'a disk in RAM'}"
            for lun, path in target["luns"].items()
        ]
        lines += [f"    {describe_session(session)}" for session in target["sessions"]]
    return lines


def describe_session(session: dict[str, Any]) -> str:
    """One who is logged in, on a line."""
    sent, got = human_size(session["bytes_in"]), human_size(session["bytes_out"])
    return (
        f"{session['initiator']} from {session['address']} since {session['since'][:19]}:"
        f" {counted(session['commands'], 'command')}, {sent} in, {got} out,"
        f" {counted(session['errors'], 'error')}"
    )


@export_command.command(
    "stop",
    epilog=example(
        "zonedctl export stop disk.img",
        "zonedctl export stop --pid 4711",
        "zonedctl export stop --all",
    ),
)
@click.option("--all", "every", is_flag=True, help="All exports of this user.")
@click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="Those of this process.")
@click.argument("what", metavar="[IMAGE|NAME]", required=False)
def stop_command(every: bool, pid: int | None, what: str | None) -> int:
    """Stop the exports of the disk IMAGE, or of the target NAME, and wait for their end.

    Initiators are asked to log out, and dropped after three seconds.
    """
    from zoned.export import registry

    if (every, pid is not None, what is not None).count(True) != 1:
        raise click.UsageError("say what to stop: IMAGE or NAME, --pid or --all")

    def wanted(export: dict[str, Any]) -> bool:
        if every or pid is not None:
            return every or export["pid"] == pid
        names = [target["iqn"] for target in export["targets"]]
        return what in names or registry.uses(export, str(what))

    stopped = registry.stop(wanted)
    if not stopped:
        raise Failure("no export is to be stopped" if every else "there is no such export")
    until = time.monotonic() + _PATIENCE
    while left := [one for one in stopped if one.is_there()]:
        if time.monotonic() > until:
            pids = ", ".join(str(one.pid) for one in left)
            raise Failure(f"it does not end within {_PATIENCE:.0f} s: process {pids}")
        time.sleep(0.02)
    return 0
