"""libiscsi's own test suite on exported disks: what fails and what is skipped stands in `suite_findings.py`, with its cause."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

import zoned
from iscsi.suite_findings import (
    DISKS,
    FAILURES,
    MANAGED,
    MOST_FAILED,
    MOST_SKIPPED,
    PLAIN,
    SKIPS,
    TESTS,
)
from waiting import PATIENCE

PROGRAM = "iscsi-test-cu"
RESULT = re.compile(r"^(?:\S+ \.\.\.)?(passed|FAILED)", re.MULTILINE)
SKIPPED = re.compile(r"\[SKIPPED\] *(.*?) *$", re.MULTILINE)
SUMMARY = re.compile(r"^ +tests +\d+ +(\d+) +\d+ +(\d+)", re.MULTILINE)

pytestmark = pytest.mark.plain


@dataclass
class Told:
    """What came of a run."""

    failed: dict[str, str]
    """The output of tests that failed."""
    skipped: dict[str, set[str]]
    """Which tests were skipped, by what was said."""
    tests: int = 0

    def why(self, name: str) -> str:
        """What a test that failed printed, from its first complaint on."""
        output = self.failed[name]
        return f"\n{name}: {output[max(0, output.find('[FAILED]') - 300) :][:1500]}"


def understood(output: str) -> Told:
    """The output of a run to its end; tests are called SUITE.TEST."""
    told = Told({}, {})
    for suite in re.split(r"^Suite: ", output, flags=re.MULTILINE)[1:]:
        for test in re.split(r"^  Test: ", suite, flags=re.MULTILINE)[1:]:
            told.tests += 1
            name = f"{suite.split()[0]}.{test.split()[0]}"
            result = RESULT.search(test)
            assert result, f"{name} has no result:\n{test}"
            if result[1] == "FAILED":
                told.failed[name] = test
            for says in SKIPPED.findall(test):
                told.skipped.setdefault(says, set()).add(name)
    summary = SUMMARY.search(output)
    assert summary, f"it did not come to its end:\n{output[-2000:]}"
    assert (told.tests, len(told.failed)) == (int(summary[1]), int(summary[2])), "its own count"
    return told


@pytest.fixture(scope="module")
def runs(
    needs: Callable[[str, bool, str], None], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Told]:
    """One on each of the disks, all at the same time: mostly it sleeps."""
    needs("zonetools", shutil.which(PROGRAM) is not None, f"the program {PROGRAM}")
    folder = tmp_path_factory.mktemp("libiscsi")
    outputs = {name: folder / name.replace(" ", "-") for name in DISKS}
    with ExitStack() as stack:
        started = []
        for name, shape in DISKS.items():
            disk = stack.enter_context(
                zoned.memory(size="64MiB", zone_size="1MiB", logical_block=512, max_open=0, **shape)
            )
            target = stack.enter_context(zoned.export.iscsi(disk))
            url = f"iscsi://{target.address}/{target.iqn}/0"
            # The second path is the same one again; of a host-managed disk it takes none.
            paths = [url] if name == MANAGED else [url, url]
            command = [PROGRAM, "--dataloss", "--allow-sanitize", "--Verbose-scsi", "-t", "ALL"]
            output = stack.enter_context(outputs[name].open("wb"))
            process = subprocess.Popen(
                [*command, *paths], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            process.wait(timeout=5 * PATIENCE)
    return {
        name: understood(path.read_text(encoding="utf-8", errors="replace"))
        for name, path in outputs.items()
    }


@pytest.mark.parametrize("disk", DISKS)
def test_each_failure_has_its_cause(runs: dict[str, Told], disk: str) -> None:
    known = sorted(failure.test for failure in FAILURES if disk in failure.disks)
    told = sorted(runs[disk].failed)
    assert told == known, "".join(runs[disk].why(name) for name in set(told) - set(known))


@pytest.mark.parametrize("disk", DISKS)
def test_each_skip_has_its_cause(runs: dict[str, Told], disk: str) -> None:
    told = {says: len(tests) for says, tests in runs[disk].skipped.items()}
    assert told == {skip.says: skip.tests[disk] for skip in SKIPS if disk in skip.tests}


@pytest.mark.parametrize("disk", DISKS)
def test_all_of_it_was_run(runs: dict[str, Told], disk: str) -> None:
    assert runs[disk].tests == TESTS, "a libiscsi of another version than 1.19"


def test_conventional_zones_do_as_well_as_no_zones(runs: dict[str, Told]) -> None:
    told = runs[PLAIN]
    assert len(told.failed) <= MOST_FAILED
    assert len(set().union(*told.skipped.values())) <= MOST_SKIPPED
