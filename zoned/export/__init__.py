"""Disks for initiators elsewhere: a zoned disk as an iSCSI target that any kernel, virtual machine
or program with libiscsi can attach. No root, no kernel module.

::

    import zoned, zoned.export

    with zoned.memory(zones=16, zone_size="1MiB") as disk, zoned.export.iscsi(disk) as target:
        print(target.url, target.sessions)

Listening, login, discovery and authentication are Python and see every byte of whoever has not
logged in; a connection in full feature phase is served in C (native/include/zoned/serve.h), by a
thread of its own that calls no Python.
"""

import importlib

TYPE_CHECKING = False  # as mypy knows it; typing would delay the start of zonedctl
if TYPE_CHECKING:
    from zoned.export.chap import Chap, Credentials, read_chap_file
    from zoned.export.portal import Limits
    from zoned.export.target import Iscsi, Session, Target, iscsi

# Who only looks which exports there are (zoned.export.registry) needs none of it.
_WHERE = {
    "Chap": "chap",
    "Credentials": "chap",
    "Iscsi": "target",
    "Limits": "portal",
    "Session": "target",
    "Target": "target",
    "iscsi": "target",
    "read_chap_file": "chap",
}


def __getattr__(name: str) -> object:
    """The public name, from its module."""
    if name not in _WHERE:
        raise AttributeError(f"module 'zoned.export' has no attribute '{name}'")
    value: object = getattr(importlib.import_module(f"zoned.export.{_WHERE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, before they are first used, too."""
    return sorted({*__all__, *globals()})


__all__ = ["Chap", "Credentials", "Iscsi", "Limits", "Session", "Target", "iscsi", "read_chap_file"]
