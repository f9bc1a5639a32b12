"""The command ``zonedctl`` (also ``python -m zoned``): a thin skin over the Python library.

Each command lives in a small module of its own, named in `zoned.cli.app`, calls one or two methods
of the library and prints what they say. Data goes to stdout, talk and progress to stderr. Exit
status: 0 done, 1 refused or failed, 2 wrong usage, and for ``check`` 4 when errors stay. Nothing
here is imported by the library.
"""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # as mypy knows it; typing would be loaded before main() begins
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """The entry point of the command; ends the process."""
    # Until a command begins there is nothing to clean up or to tell: Ctrl-C just ends the process,
    # without the traceback of some import. Ignored (as in a job in the background) it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from zoned.cli.app import run

    run()
