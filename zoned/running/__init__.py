"""Programs that were written for zoned block devices, run on emulated disks: ``zoned.run`` and
``zonedctl run``.

The package is not called ``run`` because the function is: importing a module of that name would
take its place.

``programs`` starts a command and waits for it, ``session`` makes the folder that its processes
find their disks by, ``nodes`` the files that take the place of sysfs, ``report`` tells what the
program did. What stands in the program's way is the C library ``zoned/_preload`` (native/preload).
"""

from zoned.running.programs import RunResult, run
from zoned.running.report import DiskReport, Refusal, RunReport
from zoned.running.session import RunError, Session

__all__ = ["DiskReport", "Refusal", "RunError", "RunReport", "RunResult", "Session", "run"]
