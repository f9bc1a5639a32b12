"""Crash tests of programs: the power is cut under any program or file system, and a verifier looks
at every disk that this could leave. ``zonedctl crash-test`` (docs/crash-test.md).

``places`` puts a disk where programs find it (the doors), ``children`` starts them there, each
below a ``keeper`` that ends what it leaves, ``marks`` hears what a workload may rely on,
``running`` records a workload and tries its survivors, ``shrinking`` makes a failure small,
``story`` and ``page`` tell it.
"""

from zoned.crashtest.children import CrashTestError
from zoned.crashtest.marks import MarkError
from zoned.crashtest.marks import set_mark as mark
from zoned.crashtest.running import CrashTest, Result, Settings, Verdict

__all__ = [
    "CrashTest",
    "CrashTestError",
    "MarkError",
    "Result",
    "Settings",
    "Verdict",
    "mark",
]
