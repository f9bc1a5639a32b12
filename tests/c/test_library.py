"""libzoned: its cases in C (`make -C tests/c`, then `test-shared ID`), what it exports, what its
headers promise, and the program in docs/c-library.md.
"""

from __future__ import annotations

import errno
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from headers import HEADERS, codes, declared, errors

pytestmark = pytest.mark.program

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = [
    f"{subject}/{what}"
    for path in sorted(HERE.glob("test_*.c"))
    for subject, what in re.findall(r"(?m)^CASE\((\w+), (\w+)\)", path.read_text("utf-8"))
]


def exported(*command: object) -> set[str]:
    listed = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    names = (line.split()[-1] for line in listed if len(line.split()) == 3)
    return {name.split("@")[0] for name in names} - {"ZONED_0"}


def run(*command: object, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=300, check=False, env=env
    )


@pytest.fixture(scope="module")
def programs(
    installed: Path, tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]
) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("c")
    done = run(
        "make", "-s", "-C", HERE, f"LIB={installed / 'lib'}", f"OUT={out}", env=clean_environment
    )
    assert done.returncode == 0, done.stderr
    return {kind: out / f"test-{kind}" for kind in ("shared", "static")}


@pytest.mark.parametrize("case", CASES)
def test_case(programs: dict[str, Path], clean_environment: dict[str, str], case: str) -> None:
    done = run(programs["shared"], case, env=clean_environment)
    assert done.returncode == 0, done.stderr


def test_all_cases_with_the_static_library(
    programs: dict[str, Path], clean_environment: dict[str, str]
) -> None:
    assert run(programs["static"], "--list", env=clean_environment).stdout.split() == CASES
    done = run(programs["static"], env=clean_environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"1..{len(CASES)}\n")
    assert run(programs["static"], "no/such_case", env=clean_environment).returncode == 2


def test_both_libraries_export_what_the_headers_declare(installed: Path) -> None:
    wanted = set(declared())
    assert {"zd_open", "zd_get_interrupt", "zd_fs_mount", "zd_strerror", "zd_submit"} <= wanted
    shared, static = installed / "lib/libzoned.so", installed / "lib/libzoned.a"
    assert exported("nm", "-D", "--defined-only", shared) == wanted
    assert exported("nm", "-g", "--defined-only", static) == wanted
    listed = subprocess.run(
        ["readelf", "-d", shared], capture_output=True, text=True, check=True
    ).stdout
    assert "[libzoned.so.0]" in listed
    assert set(re.findall(r"NEEDED.*\[(.*?)\]", listed)) <= {"libc.so.6", "ld-linux-x86-64.so.2"}


@pytest.mark.parametrize("language", ["c", "c++"])
def test_each_header_stands_alone(
    installed: Path, tmp_path: Path, language: str, clean_environment: dict[str, str]
) -> None:
    names = sorted(path.name for path in (installed / "include/zoned").iterdir())
    assert names == [path.name for path in HEADERS]
    for name in names:
        source = tmp_path / "alone.c"
        source.write_text(f"#include <zoned/{name}>\n#include <zoned/{name}>\n")
        command = ["gcc", "-x", language, "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
        command += ["-std=c11"] if language == "c" else ["-std=c++17"]
        done = run(*command, f"-I{installed / 'include'}", source, env=clean_environment)
        assert done.returncode == 0, f"{name}: {done.stderr}"


def test_the_program_of_the_documentation(
    installed: Path, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    page = (ROOT / "docs/c-library.md").read_text("utf-8")
    source, printed = (
        re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL) for kind in ("c", "text")
    )
    assert source is not None
    assert printed is not None
    (tmp_path / "program.c").write_text(source[1])
    env = clean_environment | {
        "PKG_CONFIG_PATH": str(installed / "lib/pkgconfig"),
        "LD_LIBRARY_PATH": str(installed / "lib"),
    }
    command = re.search(r"(?m)^cc program.c .*$", page)
    assert command is not None
    done = subprocess.run(
        ["bash", "-ec", command[0]],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, printed[1], "")
    assert set(re.findall(r"zoned/(\w+\.h)\)", page)) == {p.name for p in HEADERS}


def test_every_function_lists_its_errors_by_name() -> None:
    """Whoever takes a struct zd_error has "Errors:" with full names, none twice, all of which are
    there.
    """
    known = {f"-{name}" for name in dir(errno)} | set(codes())
    listed = errors()
    wrong = []
    for name, said in declared().items():
        if "struct zd_error *err)" not in said:
            continue
        found = listed.get(name, [])
        if not found or len(found) != len(set(found)) or set(found) - known:
            wrong.append(f"{name}: {sorted(set(found) - known) or found or 'no list'}")
    assert not wrong, "\n".join(wrong)


def test_the_folder_may_have_a_blank(
    installed: Path, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    """make split it: the headers went to folders of other names."""
    prefix = tmp_path / "pre fix"
    make = ["make", "-s", "-C", str(ROOT / "native"), "install", f"PREFIX={prefix}"]
    make += [f"OUT={installed.parent / 'out'}", "CFLAGS=-O1"]
    subprocess.run(make, check=True, timeout=900, env=clean_environment)
    assert [path.name for path in tmp_path.iterdir()] == ["pre fix"]
    found = {**clean_environment, "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "zoned"],
        check=True,
        capture_output=True,
        text=True,
        env=found,
    )
    assert shlex.split(flags.stdout)[:2] == [f"-I{prefix}/include", f"-L{prefix}/lib"]


def test_the_front_door_installs_there_too(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    prefix = tmp_path / "pre fix"
    told = subprocess.run(
        ["make", "-n", "-C", str(ROOT), "install-lib", f"PREFIX={prefix}/../pre fix"],
        check=True,
        capture_output=True,
        text=True,
        env=clean_environment,
    )
    assert f'install -d "{prefix}/include/zoned" "{prefix}/lib/pkgconfig"' in told.stdout
