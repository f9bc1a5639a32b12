"""``bench fit`` on drives that the emulator makes up: every parameter that it sets is that of the drive, within 2 %."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from sim.fitting import drawn, measured, only, recovered, with_numbers
from zoned.bench import calibrate, fitjobs, fitresults
from zoned.bench.fitparameters import KEPT, PARAMETERS, of_kind
from zoned.drives.models import load_drive

# Mostly Python; sanitizers see the engine in tests/sim/test_any_job.py.
pytestmark = pytest.mark.plain

DRIVES = 3
QUICK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hdd": (
        (
            *("hdd-write-outer", "hdd-read-outer", "hdd-read-borders", "hdd-read-unwritten-4k"),
            *("hdd-read-unwritten-256k", "hdd-write-burst", "hdd-reset", "prepare-inner"),
            "hdd-read-inner",
        ),
        (
            *("host_us", "hdd.rate_outer_mb_s", "hdd.overhead_us", "hdd.interface_mb_s"),
            *("hdd.fill_mb_s", "hdd.zone_switch_ms", "hdd.reset_ms", "hdd.rate_inner_mb_s"),
        ),
    ),
    "zns": (
        (
            *("zns-write-4k", "zns-write-8k", "zns-write-16k", "zns-write-32k", "zns-write-128k"),
            *("zns-write-zones", "prepare-reset-zones", "prepare-full", "prepare-quarter"),
            *("zns-read-4k", "zns-read-16k", "zns-reset-quarter"),
            *("prepare-one", "zns-reset-one", "zns-reset-full"),
        ),
        (
            *("host_us", "zns.write_base_us", "zns.write_unit_us", "zns.list_us"),
            *(
                "zns.write_service_us",
                "zns.reset_base_ms",
                "zns.reset_full_ms",
                "zns.reset_open_ms",
            ),
        ),
    ),
    "drive-managed": ((), PARAMETERS["drive-managed"]),
}
"""By kind of model: jobs that take the model little time (none: all do), and what they show."""


@pytest.fixture(autouse=True)
def _drive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIVE", "/dev/nowhere")


@pytest.mark.parametrize("kind", fitjobs.DRIVES)
def test_every_parameter_is_recovered(kind: str, tmp_path: Path, long_run: bool) -> None:
    """Of drives drawn by a seed that a failure prints. In the short form by the jobs that take the model little time."""
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    dice = random.Random(seed)
    profile, model = load_drive(fitjobs.DRIVES[kind])
    some, shown = QUICK[kind]
    for _ in range(DRIVES):
        hidden = drawn(kind, dice)
        paths = [
            measured(
                tmp_path,
                profile,
                with_numbers(model, hidden),
                text if long_run or not some else only(text, *some),
                name,
            )
            for name, text in fitjobs.job_files(kind, profile.geometry()).items()
            if long_run or name == fitjobs.NAMES[kind]
        ]
        found = fitresults.read(paths)
        fit = calibrate.fit(found, *calibrate.begin_with(found, None))
        off = recovered(fit, hidden)
        assert set(off) >= set(PARAMETERS[kind] if long_run else shown), (seed, hidden)
        far = {
            name: (hidden[name], round(part, 4)) for name, part in off.items() if not part < 0.02
        }
        assert not far, (seed, far)


@pytest.mark.parametrize("kind", fitjobs.DRIVES)
def test_each_parameter_is_fitted_or_has_its_reason(kind: str) -> None:
    left = [name for names in KEPT[kind].values() for name in names]
    assert sorted([*PARAMETERS[kind], *left]) == sorted(of_kind(kind))
