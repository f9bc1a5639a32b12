"""``zonedctl export``: disks as iSCSI targets or by NVMe/TCP (and, in exportublk.py, as block
devices), in the foreground or in the background; which there are, and their end.
"""

from __future__ import annotations

import logging
import sys
import syslog
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from zoned.cli.app import Failure, echo, example
from zoned.cli.documents import dumps
from zoned.cli.exporting import Command, Exporting, background_option
from zoned.cli.exportublk import describe_node, ublk_command
from zoned.cli.params import FilePath, format_option
from zoned.plaintext import for_terminal
from zoned.units import counted, human_size

if TYPE_CHECKING:
    from zoned.export.serving import Export

_DEFAULT_LISTEN = "127.0.0.1:3260"
_DEFAULT_NVME_LISTEN = "127.0.0.1:4420"
_PATIENCE = 30.0  # seconds that `stop` waits for an export's end
_HELP = """Serve disks to whoever speaks a storage protocol: kernels, virtual machines, programs. Or
make them block devices of this machine.

They see a real drive's answers, sense data included; the disk may be open here, and mounted, at the
same time."""


@click.group(
    "export",
    help=_HELP,
    epilog=example(
        "zonedctl export iscsi disk.img",
        "zonedctl export nvme disk.img",
        "zonedctl export list",
        "zonedctl export stop disk.img",
    ),
)
def export_command() -> None:
    """The group; its help is above."""


export_command.add_command(ublk_command)


_WORDS = {"initiators": "initiator", "luns": "lun", "hosts": "host"}
"""Options that are given once for each, by what `zoned.export` calls them all."""


@dataclass(frozen=True)
class TargetExporting(Exporting["Export[Any]"]):
    """Disks that are to be served by a protocol."""

    kind: str
    images: tuple[str, ...]
    options: dict[str, Any]
    secrets: str | None
    """A file."""

    @property
    def command(self) -> str:
        """Of zonedctl, that does it."""
        return f"export {self.kind}"

    def words(self) -> list[str]:
        """The same on that command's line."""
        found = []
        if self.secrets:
            found.append(f"--{'chap' if self.kind == 'iscsi' else 'dhchap'}-file={self.secrets}")
        for name, value in self.options.items():
            word = _WORDS.get(name, name).replace("_", "-")
            if isinstance(value, tuple):
                found += [f"--{word}={one}" for one in value]
            elif isinstance(value, str):
                found.append(f"--{word}={value}")
            elif value:
                found.append(f"--{word}")
        return [*found, "--", *self.images]

    def serve(self) -> Export[Any]:
        """Do it. The secrets are read here, in the process that needs them."""
        said = {name: value for name, value in self.options.items() if value}
        if self.kind == "nvme":
            from zoned.export import dhchap, nvme

            known = (
                dhchap.read_dhchap_file(self.secrets) if self.secrets else dhchap.from_environment()
            )
            return nvme(*self.images, dhchap=known, **said)
        from zoned.export import iscsi, read_chap_file
        from zoned.export.chap import from_environment

        chap = read_chap_file(self.secrets) if self.secrets else from_environment()
        return iscsi(*self.images, chap=chap, **said)

    @staticmethod
    def lines(served: Export[Any]) -> list[str]:
        """How to attach each target, in lines to type."""
        lines = []
        for target in served.targets:
            images = dict.fromkeys(str(path) for path in target.images.values())
            lines += [f"serving {', '.join(images)}", *_lines_of(served, target)]
        return lines

    @staticmethod
    def place(served: Export[Any]) -> str:
        """Its URL."""
        return served.url

    @staticmethod
    def name(served: Export[Any]) -> str:
        """Of the (first) target."""
        return served.name

    def log_to_syslog(self) -> None:
        """What is logged, too."""
        super().log_to_syslog()
        logging.getLogger("zoned").addHandler(_Syslog())

    def give_up(self, served: Export[Any]) -> None:
        """End it at once."""
        served.close(grace=0)


class _Syslog(logging.Handler):
    """What is logged, to syslog."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        syslog.syslog(syslog.LOG_WARNING, record.getMessage())


def _lines_of(export: Export[Any], target: Any) -> list[str]:
    from zoned.export.portal import split_address

    if export.kind == "nvme":
        host, port = split_address(export.address)
        where = f"-t tcp -a {host} -s {port}"
        return [
            f"  Linux     nvme discover {where}",
            f"            nvme connect {where} -n {target.nqn}",
        ]
    url = export.url_of(target)
    return [
        f"  Linux     iscsiadm -m discovery -t st -p {export.address}",
        f"            iscsiadm -m node -T {target.iqn} -p {export.address} --login",
        f"  QEMU      -drive file={url},if=none,id=zoned",
        "            -device virtio-scsi -device scsi-generic,drive=zoned",
        f"  libiscsi  iscsi-inq {url}",
    ]


def _reaching(default_listen: str, ready: str) -> Callable[[Command], Command]:
    """Options of every protocol: how it is reached."""

    def add(command: Command) -> Command:
        listen = click.option(
            "--listen",
            multiple=True,
            default=(default_listen,),
            show_default=True,
            metavar="HOST:PORT",
            help="Where; several times for several. Port 0: a free one.",
        )
        return background_option(ready)(listen(command))

    return add


def _sharing(separate: str, proof: str) -> Callable[[Command], Command]:
    """Options of every protocol: how the disks are shared out, and with whom. Then the disks."""

    def add(command: Command) -> Command:
        options = (
            click.option("--separate", is_flag=True, help=separate),
            click.option("--readonly", is_flag=True, help="Write-protected."),
            click.option(
                "--no-auth",
                is_flag=True,
                help=f"Serve anybody who reaches the address, without {proof}.",
            ),
            click.argument("images", metavar="IMAGE...", nargs=-1, required=True, type=FilePath()),
        )
        for option in reversed(options):
            command = option(command)
        return command

    return add


def _secrets(option: str, about: str) -> Callable[[Command], Command]:
    """The file of who may use it, and what proves that they are."""
    return click.option(option, type=FilePath(), metavar="FILE", help=about)


def _only(option: str, metavar: str) -> Callable[[Command], Command]:
    """Who alone may use it, each by an option."""
    return click.option(
        f"--{option}",
        f"{option}s",
        multiple=True,
        metavar=metavar,
        help="Only this one; * and ? are known.",
    )


@export_command.command(
    "iscsi",
    epilog=example(
        "zonedctl export iscsi disk.img",
        "zonedctl export iscsi -d --iqn iqn.2026-01.org.example:disks a.img b.img",
        "zonedctl export iscsi --listen 192.0.2.1:3260 --chap-file secrets disk.img",
    ),
)
@_reaching(_DEFAULT_LISTEN, "initiators can log in")
@_secrets(
    "--chap-file",
    "Who may log in, a line each: NAME SECRET; and what the target proves itself by: mutual"
    " NAME SECRET. Without it, ZONED_CHAP_USER and ZONED_CHAP_SECRET of the environment.",
)
@_only("initiator", "NAME")
@click.option("--iqn", metavar="NAME", help="The target's name. Default: made of the disk's uuid.")
@click.option(
    "--lun",
    "luns",
    type=click.IntRange(0, 255),
    multiple=True,
    metavar="N",
    help="LUN of each IMAGE, in their order. Default: 0, 1, ...",
)
@_sharing("A target for each IMAGE, instead of a LUN.", "CHAP")
@click.option("--discovery-auth", is_flag=True, help="CHAP for discovery sessions, too.")
def iscsi_command(
    in_background: bool, chap_file: str | None, images: tuple[str, ...], **options: Any
) -> int:
    """Serve the disks IMAGE... as LUNs of an iSCSI target: host-managed SCSI disks (ZBC).

    It stays in the foreground and tells how to attach; Ctrl-C ends it, initiators are asked to log
    out first. Addresses that others than this machine reach need CHAP, or --no-auth said aloud.
    """
    wanted = TargetExporting("iscsi", images, options, chap_file)
    return wanted.begin(in_background=in_background)


@export_command.command(
    "nvme",
    epilog=example(
        "zonedctl export nvme disk.img",
        "zonedctl export nvme -d --nqn nqn.2026-01.org.example:disks a.img b.img",
        "zonedctl export nvme --listen 192.0.2.1:4420 --dhchap-file secrets disk.img",
    ),
)
@_reaching(_DEFAULT_NVME_LISTEN, "hosts can connect")
@_secrets(
    "--dhchap-file",
    "Who may connect, a line each: HOST-NQN SECRET [CONTROLLER-SECRET], as nvme gen-dhchap-key"
    " makes them. Without it, ZONED_DHCHAP_SECRET and ZONED_DHCHAP_CTRL_SECRET of the environment.",
)
@_only("host", "NQN")
@click.option("--nqn", metavar="NQN", help="The subsystem's. Default: made of the disk's uuid.")
@_sharing("A subsystem for each IMAGE.", "DH-HMAC-CHAP")
def nvme_command(
    in_background: bool, dhchap_file: str | None, images: tuple[str, ...], **options: Any
) -> int:
    """Serve the disks IMAGE... by NVMe/TCP, as namespaces of an NVM subsystem: ZNS drives.

    A disk is a zoned namespace, and its conventional zones, if it has some, are an ordinary one
    behind it. A discovery controller is at the same address. It stays in the foreground and tells
    how to connect; Ctrl-C ends it. Addresses that others than this machine reach need
    DH-HMAC-CHAP, or --no-auth said aloud.
    """
    wanted = TargetExporting("nvme", images, options, dhchap_file)
    return wanted.begin(in_background=in_background)


# ---------------------------------------------------------------- looking, stopping


@export_command.command(
    "list", epilog=example("zonedctl export list", "zonedctl export list --format json")
)
@format_option("text", "json")
def list_command(form: str) -> None:
    """List the exports of this user: processes, targets, disks, who is logged in; and block devices
    that wait for a server, as theirs was killed.
    """
    from zoned.cli.exportublk import without_server
    from zoned.export import registry

    found = [*registry.running(), *without_server()]
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
    from zoned.export import registry

    if export["kind"] == "ublk":
        return describe_node(export)
    lines = [f"{export['kind']} at {', '.join(export['addresses'])}, pid {export['pid']}"]
    for target in export["targets"]:
        word, found = registry.places(target)
        lines.append(f"  target {registry.name(target)}")
        lines += [
            f"    {word} {number}: {path if path is not None else 'a disk in RAM'}"
            for number, path in found.items()
        ]
        lines += [f"    {describe_session(session)}" for session in target["sessions"]]
    return lines


def describe_session(session: dict[str, Any]) -> str:
    """One who is logged in, on a line."""
    who = session.get("initiator") or session["host"]
    sent, got = human_size(session["bytes_in"]), human_size(session["bytes_out"])
    return (
        f"{who} from {session['address']} since {session['since'][:19]}:"
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

    iSCSI initiators are asked to log out, and dropped after three seconds; hosts of NVMe cannot be
    asked. A block device (NAME /dev/ublkbN) is deleted at once, also one whose server was killed:
    unmount it first.
    """
    from zoned.cli.exportublk import delete_without_server
    from zoned.export import registry

    if (every, pid is not None, what is not None).count(True) != 1:
        raise click.UsageError("say what to stop: IMAGE or NAME, --pid or --all")

    def wanted(export: dict[str, Any]) -> bool:
        if every or pid is not None:
            return every or export["pid"] == pid
        return what in registry.names(export) or registry.uses(export, str(what))

    stopped = registry.stop(wanted)
    deleted = delete_without_server(wanted)
    if not stopped and not deleted:
        if every:
            raise Failure("no export is to be stopped")
        named = f"of {what}" if pid is None else f"in process {pid}"
        raise Failure(f"there is no export {named}: zonedctl export list tells which there are")
    until = time.monotonic() + _PATIENCE
    while left := [one for one in stopped if one.is_there()]:
        if time.monotonic() > until:
            pids = ", ".join(str(one.pid) for one in left)
            raise Failure(f"it does not end within {_PATIENCE:.0f} s: process {pids}")
        time.sleep(0.02)
    return 0
