"""Every call that calls.py makes gives under ``zonedctl run`` what Linux 6.12 gave on null_blk."""

from __future__ import annotations

import sys
from pathlib import Path

from run.programs import made, ok

HERE = Path(__file__).parent


def test_calls_give_what_the_kernel_gives(shm: Path) -> None:
    image = made(shm / "disk.img", dialect="nullblk", max_active=6, implicit_close="round-robin")
    given = ok([sys.executable, str(HERE / "calls.py"), "/dev/zoned0"], images=[image])
    expected = (HERE / "data/nullblk-calls.txt").read_text(encoding="utf-8")
    assert expected.count("\n") > 200
    assert given.splitlines() == expected.splitlines()
