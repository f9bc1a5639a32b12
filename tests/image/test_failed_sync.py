"""The host's disk fails a sync: flush says so, it is never tried again, and the image asks for a check.

A second fdatasync(2) after a failed one may return well although the pages were dropped; so nothing may
be believed any more until `check` was run.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import zoned
from children import said
from zoned import FindingKind, ZoneCondition

SCRIPT = """
import errno, os, sys
from pathlib import Path
import zoned
path, switch = Path(sys.argv[1]), Path(sys.argv[2])

def fails(call, kind):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{call} went well")

device = zoned.create(path, size="1MiB", zone_size="64KiB", conventional=0, host_sync=sys.argv[3])
device.pwrite(b"kept" * 1024, 0)
device.flush()
switch.touch()
if sys.argv[3] == "command":
    error = fails(lambda: device.pwrite(b"lost" * 1024, 65536), OSError)
else:
    device.pwrite(b"lost" * 1024, 65536)
    error = fails(device.flush, OSError)
assert error.errno == errno.EIO and str(path) in str(error), error
switch.unlink()     # the disk seems well again: nothing may be believed all the same
error = fails(device.flush, zoned.ImageFailedError)
assert str(path) in str(error) and "check" in str(error), error
assert device.pread(4096, 0) == b"kept" * 1024
assert device.info().failed
try:
    device.close()
except OSError:
    pass
print("fine")
"""


@pytest.mark.parametrize("host_sync", ["flush", "command"])
def test_failed_sync(preloaded: Callable[[str], dict[str, str]], shm: Path, host_sync: str) -> None:
    path, switch = shm / "disk.img", shm / "fail"
    failing = preloaded("failsync") | {"ZONED_TEST_FAIL": str(switch)}
    assert said("-c", SCRIPT, path, switch, host_sync, env=failing).strip() == "fine"

    with pytest.raises(zoned.ImageFailedError) as caught:
        zoned.open(path)
    assert str(path) in str(caught.value)
    assert FindingKind.FAILED in {f.kind for f in zoned.check(path) if f.error}
    zoned.check(path, repair=True)
    assert [f for f in zoned.check(path) if f.error] == []
    with zoned.open(path) as device:
        assert device.pread(4096, 0) == b"kept" * 1024
        assert device.zones[0].wp == 4096
        # what was never synced may be there or not; its zone is sound either way
        assert device.zones[1].condition in (ZoneCondition.EMPTY, ZoneCondition.IMPLICIT_OPEN)
        device.reset_all()
        device.flush()
    assert zoned.check(path) == []
