"""The command ``zonedctl`` (also ``python -m zoned``): a thin skin over the Python library.

Each command lives in a small module of its own, named in `zoned.cli.app`, calls one or two methods
of the library and prints what they say. Data goes to stdout, talk and progress to stderr. Exit
status: 0 done, 1 refused or failed, 2 wrong usage, and for ``check`` 4 when errors stay. Nothing
here is imported by the library.
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The entry point of the command; ends the process."""
    from zoned.cli.app import run

    run()
