"""An emulated host-managed SMR disk: in memory, in a file, with every rule that a real one keeps.

Three ways in: ``zoned.create(path, ...)`` makes a disk in a file, ``zoned.open(path)`` opens one,
``zoned.memory(...)`` makes one in RAM. Each gives a ``Device``. A broken rule raises the subclass
of ``ZonedError`` that is named after it.

This file only gathers the public names; each lives in a small module of its own.
"""

import importlib
import sys

__version__ = "0.1.0"

if sys.platform != "linux":
    raise ImportError(f"zoned works on Linux only (this is {sys.platform})")

TYPE_CHECKING = False  # as mypy knows it; typing would delay the start of zonedctl
if TYPE_CHECKING:
    from zoned import export, rules
    from zoned.checking import Finding, FindingKind, check
    from zoned.counters import Counters, ZoneCounters
    from zoned.crash.choices import CrashIdError, CrashSpaceError, CrashStates, Strategy
    from zoned.device import Device, create, memory, open  # noqa: A004 - the name that users know
    from zoned.drives.clock import Clock
    from zoned.drives.profiles import Profile, ProfileError
    from zoned.errors import (
        AppendLimitError,
        BlockAlignmentError,
        CommandTimeoutError,
        CommitError,
        ConventionalZoneError,
        GapAccessError,
        GeometryError,
        ImageBusyError,
        ImageCorruptError,
        ImageError,
        ImageFailedError,
        ImageFeatureError,
        ImageTruncatedError,
        ImageVersionError,
        InvalidReadError,
        InvalidTransitionError,
        MediumError,
        MiscompareError,
        NotAnImageError,
        OutOfRangeError,
        OutsideWriteAreaError,
        PowerLossError,
        ReadBoundaryError,
        SequentialZoneError,
        TooManyActiveError,
        TooManyOpenError,
        UnalignedWriteError,
        UnsupportedCommandError,
        WriteAreaUnavailableError,
        WriteBoundaryError,
        ZonedError,
        ZoneFullError,
        ZoneOfflineError,
        ZoneOperationError,
        ZoneReadOnlyError,
    )
    from zoned.faults import Fault, FaultError, FaultKind, FaultRule, Faults, Keep
    from zoned.geometry import DataMode, Dialect, Geometry, HostSync, ImplicitClose, Model
    from zoned.info import DiskInfo, Limits, Pace
    from zoned.openers import Opener, Openers
    from zoned.report import Report
    from zoned.running.programs import RunResult, run
    from zoned.running.report import RunReport
    from zoned.running.session import RunError
    from zoned.snapshots import Snapshot, ZoneState
    from zoned.traces.linting import LintReport, lint
    from zoned.traces.own import Trace, TraceCutError
    from zoned.traces.packed import TraceError
    from zoned.traces.records import TraceCommand, TraceRecord
    from zoned.traces.replaying import ReplayReport, replay
    from zoned.units import SizeError, format_size, parse_size
    from zoned.zone import Zone, ZoneCondition, ZoneType
    from zoned.zonelist import ZoneListError, ZoneSet

__all__ = [
    "AppendLimitError",
    "BlockAlignmentError",
    "Clock",
    "CommandTimeoutError",
    "CommitError",
    "ConventionalZoneError",
    "Counters",
    "CrashIdError",
    "CrashSpaceError",
    "CrashStates",
    "DataMode",
    "Device",
    "Dialect",
    "DiskInfo",
    "Fault",
    "FaultError",
    "FaultKind",
    "FaultRule",
    "Faults",
    "Finding",
    "FindingKind",
    "GapAccessError",
    "Geometry",
    "GeometryError",
    "HostSync",
    "ImageBusyError",
    "ImageCorruptError",
    "ImageError",
    "ImageFailedError",
    "ImageFeatureError",
    "ImageTruncatedError",
    "ImageVersionError",
    "ImplicitClose",
    "InvalidReadError",
    "InvalidTransitionError",
    "Keep",
    "Limits",
    "LintReport",
    "MediumError",
    "MiscompareError",
    "Model",
    "NotAnImageError",
    "Opener",
    "Openers",
    "OutOfRangeError",
    "OutsideWriteAreaError",
    "Pace",
    "PowerLossError",
    "Profile",
    "ProfileError",
    "ReadBoundaryError",
    "ReplayReport",
    "Report",
    "RunError",
    "RunReport",
    "RunResult",
    "SequentialZoneError",
    "SizeError",
    "Snapshot",
    "Strategy",
    "TooManyActiveError",
    "TooManyOpenError",
    "Trace",
    "TraceCommand",
    "TraceCutError",
    "TraceError",
    "TraceRecord",
    "UnalignedWriteError",
    "UnsupportedCommandError",
    "WriteAreaUnavailableError",
    "WriteBoundaryError",
    "Zone",
    "ZoneCondition",
    "ZoneCounters",
    "ZoneFullError",
    "ZoneListError",
    "ZoneOfflineError",
    "ZoneOperationError",
    "ZoneReadOnlyError",
    "ZoneSet",
    "ZoneState",
    "ZoneType",
    "ZonedError",
    "__version__",
    "check",
    "create",
    "export",
    "format_size",
    "lint",
    "memory",
    "open",
    "parse_size",
    "replay",
    "rules",
    "run",
]

# Where each public name lives; all others are exceptions, of zoned.errors. They are fetched when
# first asked for (PEP 562): a shell's Tab and every pytest run of a project that has zoned
# installed import this package and use none of it.
_NAMES = {
    "checking": ("Finding", "FindingKind", "check"),
    "drives.clock": ("Clock",),
    "counters": ("Counters", "ZoneCounters"),
    "crash.choices": ("CrashIdError", "CrashSpaceError", "CrashStates", "Strategy"),
    "device": ("Device", "create", "memory", "open"),
    "faults": ("Fault", "FaultError", "FaultKind", "FaultRule", "Faults", "Keep"),
    "geometry": ("DataMode", "Dialect", "Geometry", "HostSync", "ImplicitClose", "Model"),
    "info": ("DiskInfo", "Limits", "Pace"),
    "openers": ("Opener", "Openers"),
    "drives.profiles": ("Profile", "ProfileError"),
    "report": ("Report",),
    "running.programs": ("RunResult", "run"),
    "running.report": ("RunReport",),
    "running.session": ("RunError",),
    "snapshots": ("Snapshot", "ZoneState"),
    "traces.linting": ("LintReport", "lint"),
    "traces.own": ("Trace", "TraceCutError"),
    "traces.packed": ("TraceError",),
    "traces.records": ("TraceCommand", "TraceRecord"),
    "traces.replaying": ("ReplayReport", "replay"),
    "units": ("SizeError", "format_size", "parse_size"),
    "zone": ("Zone", "ZoneCondition", "ZoneType"),
    "zonelist": ("ZoneListError", "ZoneSet"),
}
_MODULES = {"export", "rules", *(module.partition(".")[0] for module in _NAMES)}
_WHERE = dict.fromkeys(set(__all__) - {"__version__", "export", "rules"}, "errors") | {
    name: module for module, names in _NAMES.items() for name in names
}


def __getattr__(name: str) -> object:
    """The public name, from its module; or the module of that name."""
    if name in _WHERE:
        value: object = getattr(importlib.import_module(f"zoned.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = importlib.import_module(f"zoned.{name}")
    else:
        raise AttributeError(f"module 'zoned' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names only: what this file needs for itself is nobody's business."""
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
