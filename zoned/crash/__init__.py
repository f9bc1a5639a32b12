"""What a power cut may leave behind: every state of it (choices), recording a workload's history
(history), and looking at each survivor (checker). Users have ``dev.crash_states()`` and
``zoned.testing.check_crashes``.

Of any program's workload, recorded to a file::

    with zoned.crash.record(dev, "x.history"):
        ...                                  # whoever has the disk open; dev.trace.mark("saved 1")
    with zoned.crash.History("x.history") as history:
        for state in zoned.crash.states(history):
            with state.device as device: ...  # a disk that the power cut could leave
"""

from typing import TYPE_CHECKING

from zoned._core.lazy import find

if TYPE_CHECKING:
    from zoned.crash.recorded import Build, History, HistoryError, Mark, record
    from zoned.crash.survivors import Point, Points, State, States, states

__all__ = [
    "Build",
    "History",
    "HistoryError",
    "Mark",
    "Point",
    "Points",
    "State",
    "States",
    "record",
    "states",
]

_NAMES = {
    "recorded": ("Build", "History", "HistoryError", "Mark", "record"),
    "survivors": ("Point", "Points", "State", "States", "states"),
}
_WHERE = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """The public name, from its module: the disk itself stands on one of them."""
    return find(__name__, _WHERE, name)
