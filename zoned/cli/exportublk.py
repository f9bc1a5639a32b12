"""``zonedctl export ublk``: a disk as a block device of this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from zoned.cli.app import example
from zoned.cli.exporting import Exporting, background_option
from zoned.cli.params import SIZE, FilePath
from zoned.units import counted, human_size

if TYPE_CHECKING:
    from zoned.export import Ublk


@dataclass(frozen=True)
class NodeExporting(Exporting["Ublk"]):
    """A disk that is to be a block device."""

    image: str
    options: dict[str, Any]
    command = "export ublk"

    def words(self) -> list[str]:
        """The same on that command's line."""
        found = []
        for name, value in self.options.items():
            word = name.replace("_", "-")
            if value is True:
                found.append(f"--{word}")
            elif value is not None and value is not False:
                found.append(f"--{word}={value}")
        return [*found, "--", self.image]

    def serve(self) -> Ublk:
        """Do it."""
        from zoned.export import ublk

        return ublk(self.image, **self.options)

    @staticmethod
    def lines(served: Ublk) -> list[str]:
        """What people are told of it."""
        goes_on = " (it goes on, where its server was killed)" if served.resumed else ""
        return [f"serving {served.image} as a host-managed block device{goes_on}"]

    @staticmethod
    def place(served: Ublk) -> str:
        """Its path."""
        return served.path

    name = place


@click.command(
    "ublk",
    epilog=example(
        "zonedctl export ublk disk.img",
        "zonedctl export ublk -d --whole-zones disk.img",
        "zonedctl export stop disk.img",
    ),
)
@background_option("the device is there")
@click.option(
    "--device", type=click.IntRange(min=0), metavar="N", help="/dev/ublkbN. Default: a free one."
)
@click.option(
    "--queues",
    type=click.IntRange(1, 64),
    metavar="N",
    help="Queues, with a thread each. Default: one for each processor, up to 4.",
)
@click.option(
    "--depth",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Requests under way in each queue. Default: 128.",
)
@click.option("--max-io", type=SIZE, metavar="SIZE", help="Largest request, up to 4M. Default: 1M.")
@click.option(
    "--whole-zones",
    is_flag=True,
    help="Leave out a last zone that is smaller, which no such device can have.",
)
@click.option("--readonly", is_flag=True, help="Write-protected.")
@click.argument("image", metavar="IMAGE", type=FilePath())
def ublk_command(in_background: bool, image: str, **options: Any) -> int:
    """Make the disk IMAGE a zoned block device of this machine, /dev/ublkbN.

    It needs root and Linux 6.6 or later with ublk_drv. It stays in the foreground; Ctrl-C deletes
    the device. If a server was killed, the device waits, and this command goes on with it: nothing
    is lost.
    """
    return NodeExporting(image, options).begin(in_background=in_background)


# ---------------------------------------------------------------- looking, stopping


def describe_node(export: dict[str, Any]) -> list[str]:
    """A block device as lines of text."""
    disk = export["image"] if export["image"] is not None else "a disk in RAM"
    if export["waits"]:
        return [
            f"ublk {export['path']}, whose server was killed",
            f"  {disk}: 'zonedctl export ublk' goes on with it",
        ]
    return [f"ublk {export['path']}, pid {export['pid']}", f"  {disk}: {describe_traffic(export)}"]


def describe_traffic(export: dict[str, Any]) -> str:
    """What a block device has done, on a line."""
    return (
        f"{counted(export['commands'], 'command')}, {human_size(export['bytes_in'])} in,"
        f" {human_size(export['bytes_out'])} out, {counted(export['errors'], 'error')}"
    )


def without_server() -> list[dict[str, Any]]:
    """Devices that wait for one, as an export tells of itself; those that nobody can serve go."""
    from zoned.export.ublkstate import any_there, clean, describe

    return [describe(facts) for facts in clean()] if any_there() else []


def delete_without_server(wanted: Callable[[dict[str, Any]], bool]) -> int:
    """Delete those of them; how many there were."""
    from zoned.export.ublkstate import any_there, stop

    return len(stop(wanted)) if any_there() else 0


__all__ = [
    "delete_without_server",
    "describe_node",
    "describe_traffic",
    "ublk_command",
    "without_server",
]
