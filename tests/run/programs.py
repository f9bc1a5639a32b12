"""Starting programs of others on emulated disks, and finding them where Debian has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import zoned

SEARCHED = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
Needs = Callable[[str, bool, str], None]


def found(needs: Needs, *names: str) -> None:
    """Goes on where all of these programs are there."""
    for name in names:
        needs("zonetools", shutil.which(name, path=SEARCHED) is not None, f"the program {name}")


def started(
    command: Sequence[str],
    *options: str,
    images: Sequence[Path] = (),
    patience: float = 600,
    **keywords: object,
) -> subprocess.CompletedProcess[str]:
    """``zonedctl run OPTIONS IMAGES -- COMMAND``, with its output."""
    whole = [sys.executable, "-m", "zoned", "run", *options, *map(str, images), "--", *command]
    return subprocess.run(
        whole,
        env=os.environ | {"PATH": SEARCHED},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience,
        **keywords,  # type: ignore[call-overload]
    )


def ok(command: Sequence[str], *options: str, images: Sequence[Path] = ()) -> str:
    """The same for what must succeed: its standard output."""
    done = started(command, *options, images=images)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def shell(script: str, image: Path) -> str:
    """A script's output, with the disk as /dev/zoned0."""
    return ok(["sh", "-ec", script], images=[image])


def made(path: Path, **keywords: object) -> Path:
    """A disk of 64 MiB with zones of 4 MiB, 2 of them conventional."""
    shape: dict[str, object] = {
        "size": "64MiB",
        "zone_size": "4MiB",
        "conventional": 2,
        "max_open": 4,
    }
    zoned.create(path, host_sync="never", **(shape | keywords)).close()  # type: ignore[arg-type]
    return path
