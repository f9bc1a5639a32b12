"""Run part of a test in a child process, so that a SIGBUS or SIGSEGV fails the test and not the suite."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from children import environment

T = TypeVar("T")


def in_child(work: Callable[[], T], *, seconds: int = 900) -> T:
    """What ``work()`` returns, computed in a forked child; its failure and its death by a signal fail here.

    So does one that takes longer than `seconds`.
    """
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        signal.alarm(seconds)
        try:
            answer: tuple[bool, object] = (True, work())
        except BaseException:  # noqa: BLE001 - it is told to the parent
            answer = (False, traceback.format_exc())
        with os.fdopen(write_end, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), f"the process died of {signal.Signals(os.WTERMSIG(status)).name}"
    fine, value = pickle.loads(data)
    assert fine, value
    return value  # type: ignore[no-any-return]


def can_mount() -> bool:
    """Whether this process may have mounts of its own: root, and not fenced in by a container."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        return False
    command = [unshare, "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def on_small_filesystem(script: str, folder: Path, size: str = "4m", timeout: int = 120) -> str:
    """Run Python code where ``/`` + folder is a tmpfs of `size`, in mounts that nobody else sees.

    The code finds the folder in the variable ``folder`` (a Path). Returns what it printed; a death by a
    signal, or any exception, fails.
    """
    code = f"import errno, os, sys\nfrom pathlib import Path\nimport zoned\nfolder = Path({str(folder)!r})\n{script}"
    command = f'mount -t tmpfs -o size={size} none "$1" && exec "$2" -c "$3" 2>&1'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", command, "sh", str(folder), sys.executable, code],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout
