"""What type checkers are told of the native modules is what there is."""

from __future__ import annotations

import importlib
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


@pytest.mark.parametrize("name", ["zoned._native", "zonefs._fuse"])
def test_a_build_writes_a_stub_of_all_that_the_module_has(name: str) -> None:
    module = importlib.import_module(name)
    package, stem = name.split(".")
    stub = (ROOT / package / f"{stem}.pyi").read_text(encoding="utf-8")
    said = set(re.findall(r"^    (?:def )?(\w+)[:(]", stub, re.MULTILINE))
    assert {"zd_own_fuse", "zd_pwrite"} & said
    assert set(dir(module.lib)) - said == set()


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
