"""pytest fixtures for tests on emulated disks; pytest finds them when zoned is installed.

``zoned_device`` (a disk in RAM), ``zoned_device_factory(**keywords)``, ``zoned_image`` (the path of
an image), ``zonefs`` (a mounted-in-process file system), ``zonefs_mount`` (a folder, by FUSE) and
``zoned_crashes`` (check_crashes with the test's settings). The marker
``zoned(profile=..., zones=..., max_open=..., faults=..., **keywords)`` shapes a test's disks.

Where a setting comes from, first found: the factory's keywords, the marker, the fixture
``zoned_settings`` where a project overrides it, the command line (``--zoned-profile``), the ini
file (``zoned_profile``), the environment (``ZONED_PROFILE``). A test that fails shows the zones and
the last commands of its disks, whoever gave them: the test, a ZoneFS, a mount, a child process. One
that leaves a disk or a mount open fails.

Imports nothing of zoned but what a test asks for: a run that uses none of it pays nothing.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from zoned.device import Device
    from zoned.testing import CrashReport

_SETTINGS = {
    "profile": "profile of the disks that tests get",
    "size": "their size, such as 64MiB",
    "zones": "their number of zones, instead of a size",
    "zone_size": "size of a zone",
    "max_open": "how many zones may be open",
    "dialect": "zbc, zns or nullblk",
}
_DEFAULT_ZONE_SIZE = "1MiB"
_SHOWN = 30

_disks: pytest.StashKey[list[Any]] = pytest.StashKey()
_before: pytest.StashKey[tuple[set[int], set[str]]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("zoned", "emulated zoned disks")
    for name, text in _SETTINGS.items():
        option = "--zoned-" + name.replace("_", "-")
        group.addoption(option, dest=f"zoned_{name}", default=None, metavar=name.upper(), help=text)
        parser.addini(f"zoned_{name}", text, default=None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "zoned(profile=None, zones=None, max_open=None, faults=None, **keywords): shape of the "
        "test's disks; keywords are those of zoned.memory, faults a plan's path or its rules.",
    )


def _configured(config: pytest.Config) -> dict[str, Any]:
    found = {}
    for name in _SETTINGS:
        value = config.getoption(f"zoned_{name}")
        value = value or config.getini(f"zoned_{name}") or os.environ.get(f"ZONED_{name.upper()}")
        if value:
            found[name] = value
    return found


def _shape(settings: dict[str, Any]) -> dict[str, Any]:
    """Keywords of zoned.memory from settings: numbers as numbers, zones as a size."""
    from zoned.units import parse_size

    keywords = {key: value for key, value in settings.items() if value is not None}
    for name in ("max_open", "zones"):
        if isinstance(keywords.get(name), str):
            try:
                keywords[name] = int(keywords[name])
            except ValueError:
                raise pytest.UsageError(
                    f"zoned: {name} is {keywords[name]!r}: it must be a whole number"
                ) from None
    zones = keywords.pop("zones", None)
    if zones is not None:
        keywords.pop("size", None)
        zone_size = keywords.setdefault("zone_size", _DEFAULT_ZONE_SIZE)
        keywords["size"] = zones * parse_size(zone_size, "zone_size")
    return keywords


def _rules(faults: Any) -> list[Any]:
    """Rules from what the marker's ``faults`` may be: a plan's path, a table, or several tables."""
    from zoned.faults import FaultRule, read_plan

    if faults is None:
        return []
    if isinstance(faults, str | os.PathLike):
        return list(read_plan(faults))
    several = [faults] if isinstance(faults, dict | FaultRule) else list(faults)
    return [FaultRule(**rule) if isinstance(rule, dict) else rule for rule in several]


@pytest.fixture
def zoned_settings() -> dict[str, Any]:
    """Settings of a project: override it to return keywords for the disks of its tests."""
    return {}


@pytest.fixture
def _zoned_keywords(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    settings = _configured(request.config) | zoned_settings
    faults = None
    # The closest marker wins, key by key.
    for marker in reversed(list(request.node.iter_markers("zoned"))):
        if marker.args:
            raise pytest.UsageError("the marker zoned takes keywords only, such as zones=16")
        given = dict(marker.kwargs)
        faults = given.pop("faults", faults)
        if "size" in given:
            settings.pop("zones", None)
        settings |= given
    return settings, _rules(faults)


@pytest.fixture
def zoned_device_factory(
    request: pytest.FixtureRequest, _zoned_keywords: tuple[dict[str, Any], list[Any]]
) -> Iterator[Callable[..., Device]]:
    """``zoned_device_factory(**keywords)``: a new disk in RAM each time; closed after the test."""
    from zoned.device import _create, _resolve

    settings, rules = _zoned_keywords
    disks = request.node.stash.setdefault(_disks, [])
    with ExitStack() as stack:

        def make(**keywords: Any) -> Device:
            shape = _shape(settings | keywords)
            geometry = _resolve(shape.pop("profile", None), shape)  # type: ignore[arg-type]
            device = stack.enter_context(_create(None, geometry, replace=False))
            disks.append(device)
            device.faults.set_all(rules)
            device.trace.keep()
            return device

        yield make


@pytest.fixture
def zoned_device(zoned_device_factory: Callable[..., Device]) -> Device:
    """A disk in RAM, new for each test."""
    return zoned_device_factory()


@pytest.fixture
def zoned_image(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    _zoned_keywords: tuple[dict[str, Any], list[Any]],
) -> Path:
    """The path of a disk's image, new for each test and open by nobody."""
    from zoned.device import create

    settings, rules = _zoned_keywords
    path = tmp_path / "zoned.img"
    with create(path, **_shape({"host_sync": "never"} | settings)) as device:
        device.faults.set_all(rules)
        device.trace.keep()
    request.node.stash.setdefault(_disks, []).append(path)
    return path


@pytest.fixture
def zonefs(zoned_device: Device) -> Iterator[Any]:
    """A zonefs on ``zoned_device``, used in this process."""
    import zonefs as library

    library.mkfs(zoned_device)
    with library.ZoneFS(zoned_device) as fs:
        yield fs


@pytest.fixture
def zonefs_mount(zoned_image: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder at which a zonefs on ``zoned_image`` is mounted, for any program."""
    import zonefs as library
    from zoned.device import open as open_disk

    folder = tmp_path / "zonefs"
    folder.mkdir()
    with open_disk(zoned_image) as device:
        library.mkfs(device)
    with library.mount(zoned_image, folder):
        yield folder


@pytest.fixture
def zoned_crashes(
    _zoned_keywords: tuple[dict[str, Any], list[Any]],
) -> Callable[..., CrashReport]:
    """``zoned_crashes(workload, verify, **keywords)``: check_crashes on the test's kind of disk."""
    from zoned.testing import check_crashes

    settings, rules = _zoned_keywords

    def check(workload: Any, verify: Any, **keywords: Any) -> CrashReport:
        return check_crashes(workload, verify, **{"faults": rules, **_shape(settings), **keywords})

    return check


# ---------------------------------------------------------------- failures and leaks


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed and _disks in item.stash:
        _add_sections(item, report)
    return report


def _add_sections(item: pytest.Item, report: pytest.TestReport) -> None:
    from zoned.device import open as open_disk

    disks: list[Any] = item.stash[_disks]
    for number, disk in enumerate(disks, 1):
        title = f"zoned disk {number}"
        if not isinstance(disk, Path):
            if not disk.closed:
                report.sections.append((title, _story(disk)))
            continue
        try:
            with open_disk(disk, readonly=True) as device:
                report.sections.append((title, _story(device)))
        except OSError as error:  # the test may have removed or damaged it
            report.sections.append((title, f"{disk}: {error}"))


def _story(device: Device) -> str:
    from zoned.testing import zone_lines

    lines = zone_lines(device) if device.powered else "  the disk has no power"
    commands = "\n".join(f"  {record}" for record in device.trace.last(_SHOWN)) or "  none"
    return f"{device!r}\n{lines}\nLast commands:\n{commands}"


def _open_devices() -> dict[int, Any]:
    module = sys.modules.get("zoned.device")
    return {id(dev): dev for dev in list(module._live) if not dev.closed} if module else {}


def _mounts(item: pytest.Item) -> set[str]:
    """Mount points below this run's temporary folder."""
    if "zonefs" not in sys.modules:
        return set()
    factory = getattr(item.config, "_tmp_path_factory", None)
    if factory is None:
        return set()
    base = str(factory.getbasetemp())
    text = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    points = (line.split()[1].replace("\\040", " ") for line in text.splitlines())
    return {point for point in points if point.startswith(base)}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    item.stash[_before] = set(_open_devices()), _mounts(item)


@pytest.hookimpl(trylast=True, wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if _before in item.stash:
        _look_for_leaks(item)


def _look_for_leaks(item: pytest.Item) -> None:
    devices, mounts = item.stash[_before]
    if set(_open_devices()) - devices:
        gc.collect()  # what is only garbage was not left open
    left = [repr(device) for key, device in _open_devices().items() if key not in devices]
    left += [f"the mount at {point}" for point in sorted(_mounts(item) - mounts)]
    for device in [device for key, device in _open_devices().items() if key not in devices]:
        device.close()
    if left:
        pytest.fail(f"the test left open: {'; '.join(left)}", pytrace=False)
