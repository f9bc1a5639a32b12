"""zonefs on an emulated disk: every zone is a file, by the rules of Linux's zonefs.

``mkfs(dev)`` makes one on a disk, ``ZoneFS(dev)`` uses it in this process, without a mount;
``mount(image, path)`` shows it to every program. This file only gathers the public names; each
lives in a small module of its own. See ``zoned`` for the
disk itself.
"""

from zonefs.files import BlockRandom, BlockWriter, ZoneFile
from zonefs.filesystem import ZoneFS
from zonefs.formatting import mkfs
from zonefs.mounting import Mount, mount
from zonefs.options import Errors, MountOptions, SeqFileCounters
from zonefs.paths import ZonePath
from zonefs.stream import StreamError, StreamFile
from zonefs.superblock import Features, Superblock, read_superblock

__all__ = [
    "BlockRandom",
    "BlockWriter",
    "Errors",
    "Features",
    "Mount",
    "MountOptions",
    "SeqFileCounters",
    "StreamError",
    "StreamFile",
    "Superblock",
    "ZoneFS",
    "ZoneFile",
    "ZonePath",
    "mkfs",
    "mount",
    "read_superblock",
]
