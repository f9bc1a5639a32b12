"""Crash tests: cut the power after every command of a workload, and look at every survivor.

::

    def workload(dev, ack):
        for number in range(1, 6):
            dev.append(4, bytes([number]) * 4096)
            dev.flush()
            ack(number)                  # from here on the user may rely on it

    def verify(dev, acknowledged):
        zone = dev.zones[4]              # what the program does after a crash
        found = dev.pread(zone.wp - zone.start, zone.start)[::4096]
        assert set(acknowledged) <= set(found)

    check_crashes(workload, verify, zones=16, zone_size="1MiB")

A failure shows the shortest history that leads to it, the zones before and after the cut, and the
line that repeats exactly that one. The workload must do the same each time it runs: it is run twice
to see whether it does (WorkloadError), once per further process, and once for a replay. Commands
are recorded that are given through the Device, and through a ZoneFS on it; those of other openers
are not. A workload of other processes is recorded by ``zoned.crash.record`` and looked at by
``check_history``, in the same way; zonedctl crash-test does both for programs in any language.
"""

from __future__ import annotations

__all__ = [
    "CrashFailure",
    "CrashReport",
    "WorkloadError",
    "check_crashes",
    "check_history",
    "zone_lines",
]

from zoned.crash.checker import (
    CrashFailure,
    CrashReport,
    WorkloadError,
    check_crashes,
    zone_lines,
)
from zoned.crash.judging import check_history
