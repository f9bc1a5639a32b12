"""The life of an export, whatever it serves: it lasts as long as a `with`, belongs to the process
that made it, and is given back by the collector, with a warning, where nobody closed it.
"""

from __future__ import annotations

import os
import threading
import warnings
from abc import ABC, abstractmethod
from types import TracebackType
from typing import NoReturn, Self

from zoned.export import registry


class Lasting(ABC):
    """What can be waited for and closed. Who derives from it sets the fields, `_entry` last."""

    _pid: int
    _stopped: threading.Event
    _entry: registry.Entry

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether it has ended, and nothing of it is left."""

    @abstractmethod
    def wait(self, timeout: float | None = None) -> bool:
        """Until somebody asks it to stop, or timeout seconds passed; whether it was asked."""

    @abstractmethod
    def close(self) -> None:
        """End it. Once done, does nothing."""

    @abstractmethod
    def _end(self, *, wait: bool = True) -> None:
        """All of it, whatever fails of it. Once an interrupt came amid it, it can be done again."""

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            raise RuntimeError(
                f"the export belongs to process {self._pid}: a forked child cannot use it"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_entry") and self._pid == os.getpid() and not self.closed:
            try:
                warnings.warn(
                    f"{self!r} was not closed", ResourceWarning, source=self, stacklevel=2
                )
            finally:  # where warnings are errors, too
                # Not waiting: what serves may wait for this thread, wherever the collector came by.
                self._end(wait=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("an export belongs to its process and cannot be copied or pickled")
