"""What type checkers are told of the native modules is what there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NARROWER = ["zoned._native.ffi", "zoned._native.lib", "zonefs._fuse.ffi", "zonefs._fuse.lib"]
"""cffi has one class for all modules; the stub has one for each, with its names."""

pytestmark = pytest.mark.program


def run(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=cwd,
    )


def test_the_stubs_of_the_cffi_modules_are_up_to_date() -> None:
    done = run("native/python/stubs.py", "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_stubs_and_modules_agree(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.write_text("\n".join(NARROWER))
    done = run(
        *("-m", "mypy.stubtest", "--mypy-config-file", ROOT / "pyproject.toml"),
        *("--allowlist", allowed, "zoned._native", "zoned._fast", "zonefs._fuse"),
    )
    assert done.returncode == 0, done.stdout


def test_a_wrong_call_of_the_library_is_a_type_error(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from zoned._native import ffi, lib\n"
        "info = ffi.new('struct zd_info *')\n"
        "reveal_type(info.nr_zones)\n"
        "info.nr_zone\n"
        "lib.zd_crc32c('0', b'', 0)\n"
        "lib.zd_opne\n"
    )
    done = run(
        *("-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--no-incremental", wrong),
        cwd=ROOT,
    )
    assert re.search(r'Revealed type is "(builtins\.)?int"', done.stdout)
    assert 'has no attribute "nr_zone"' in done.stdout
    assert 'incompatible type "str"; expected "int"' in done.stdout
    assert 'has no attribute "zd_opne"' in done.stdout
