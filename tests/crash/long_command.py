"""A process that fills and resets a whole disk of many zones, over and over: killed or stopped half-way.

python long_command.py IMAGE FIRST COUNT ROUND

ROUND says what it does over and over: ``finish`` and RESET ALL, or ``open`` and close. It says a line before
and after each command.
"""

from __future__ import annotations

import os
import sys

import zoned


def say(word: str) -> None:
    os.write(1, word.encode() + b"\n")


def main(path: str, first: int, count: int, what: str) -> None:
    device = zoned.open(path)
    while what == "open":
        say("open")
        device.open_zone(first, count)
        say("opened")
        device.close_zone(first, count)
        say("closed")
    while what == "finish":
        say("finish")
        device.finish_zone(first, count)
        say("finished")
        say("reset")
        device.reset_all()
        say("reset done")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
