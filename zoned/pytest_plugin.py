"""pytest fixtures for tests on emulated disks; pytest finds them when zoned is installed.

``zoned_device`` (a disk in RAM), ``zoned_device_factory(**keywords)``, the same for disks that live
as long as a module or the session (``zoned_module_device_factory``,
``zoned_session_device_factory``), ``zoned_image`` (the path of an image), ``zonefs`` (a mounted-in-
process file system), ``zonefs_mount`` (a folder, by FUSE), ``zoned_iscsi`` (an iSCSI target),
``zoned_nvme`` (an NVM subsystem by NVMe/TCP), ``zoned_run`` (a program that finds the image as
/dev/zoned0) and ``zoned_crashes`` (check_crashes with the test's settings). The marker
``zoned(profile=..., zones=..., max_open=..., faults=..., **keywords)`` shapes a test's disks.

Where a setting comes from, first found: the factory's keywords, the marker, the fixture
``zoned_settings`` where a project overrides it, the command line (``--zoned-profile``), the ini
file (``zoned_profile``), the environment (``ZONED_PROFILE``). A test that fails shows the zones and
the last commands of its disks, whoever gave them: the test, a ZoneFS, a mount, a child process. One
that leaves a disk or a mount open fails, and is told where the disk was made.

Imports nothing of zoned but what a test asks for: a run that uses none of it pays nothing.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import pytest

if TYPE_CHECKING:
    from types import FrameType

    from zoned.device import Device
    from zoned.export import Iscsi, Nvme
    from zoned.geometry import Geometry
    from zoned.keywords import GeometryKeywords
    from zoned.running import RunResult
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
_OURS = ("zoned", "zonefs", "importlib")
_SHOWN = 30

_disks: pytest.StashKey[list[Any]] = pytest.StashKey()
_before: pytest.StashKey[tuple[set[int], set[str]]] = pytest.StashKey()
_WIDE = ("zoned_module_device_factory", "zoned_session_device_factory")
_shared: dict[str, list[Device]] = {name: [] for name in _WIDE}
"""Open disks that more than one test uses, by the fixture that made them: no test's leak."""
_running: list[pytest.Item] = []
"""The test that runs, if one does."""
_places: WeakKeyDictionary[Device, str] = WeakKeyDictionary()
"""Where the running test made each disk: file:line."""


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


_INSTEAD = {"size": "zones", "zones": "size"}
"""Two ways to tell one thing: whoever gives the one takes the other away."""


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, and others that go before them. Raises ValueError."""
    given = {name: value for name, value in above.items() if value is not None}
    if "size" in given and "zones" in given:
        raise ValueError("size and zones exclude each other: give one of them")
    return {name: value for name, value in below.items() if _INSTEAD.get(name) not in given} | given


def _configured(config: pytest.Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for read in (
        lambda name: os.environ.get(f"ZONED_{name.upper()}"),
        lambda name: config.getini(f"zoned_{name}"),
        lambda name: config.getoption(f"zoned_{name}"),
    ):
        found = _over(found, {name: read(name) or None for name in _SETTINGS})
    return found


def _whole(name: str, value: Any) -> Any:
    """A number from the command line or a file, where it is a text. Raises ValueError."""
    try:
        return int(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"{name} is {value!r}: it must be a whole number") from None


def _shape(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of zoned.memory from settings: numbers as numbers. Raises ValueError."""
    keywords = dict(settings)
    for name in ("max_open", "zones"):
        if name in keywords:
            keywords[name] = _whole(name, keywords[name])
    if "zones" in keywords and keywords.get("profile") is None:
        keywords.setdefault("zone_size", _DEFAULT_ZONE_SIZE)
    return keywords


def _geometry(settings: Mapping[str, Any]) -> Geometry:
    """The disk that settings mean. Raises GeometryError, ProfileError, ValueError."""
    from zoned.keywords import resolve_keywords

    shape = _shape(settings)
    return resolve_keywords(shape.pop("profile", None), cast("GeometryKeywords", shape))


def _rules(faults: Any, folder: Path) -> list[Any]:
    """Rules from what the marker's ``faults`` may be: a plan's path, a table, or several tables.

    A path is one from the test's folder, or from where pytest runs. Raises FaultError, OSError.
    """
    from zoned.faults import FaultError, FaultRule, read_plan, rule_of

    if faults is None:
        return []
    if isinstance(faults, str | os.PathLike):
        beside = folder / faults
        return list(read_plan(beside if beside.exists() else faults))
    several = faults if isinstance(faults, list | tuple) else [faults]
    if not all(isinstance(rule, dict | FaultRule) for rule in several):
        raise FaultError(f"faults is {faults!r}: it must be the path of a plan, or its rules")
    return [
        rule_of(rule, f"fault {at}") if isinstance(rule, dict) else rule
        for at, rule in enumerate(several, 1)
    ]


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """What is wrong with a test's settings, without the plugin's own lines."""
    text = ""
    try:
        yield
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (ValueError, TypeError) as error:
        text = str(error)
    if text:
        said = f"zoned settings of this test: {text}"
        raise pytest.fail.Exception(said, pytrace=False) from None  # pytest would tell both


@pytest.fixture(scope="session")
def zoned_settings() -> dict[str, Any]:
    """Settings of a project: override it to return keywords for the disks of its tests. One for
    the wide factories too has their scope.
    """
    return {}


def _settings_of(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    """Keywords, and the rules of faults, for a fixture: of its test, module or session."""
    with _in_a_sentence():
        settings = _over(_configured(request.config), zoned_settings)
        faults = None
        # The closest marker wins, key by key.
        for marker in reversed(list(request.node.iter_markers("zoned"))):
            if marker.args:
                raise TypeError("the marker zoned takes keywords only, such as zones=16")
            given = dict(marker.kwargs)
            faults = given.pop("faults", faults)
            settings = _over(settings, given)
        _geometry(settings)
        beside = request.config.rootpath if request.scope == "session" else request.path.parent
        return settings, _rules(faults, beside)


@pytest.fixture
def _zoned_keywords(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> tuple[dict[str, Any], list[Any]]:
    return _settings_of(request, zoned_settings)


def _factory(
    settings: dict[str, Any], rules: list[Any], disks: list[Any]
) -> Iterator[Callable[..., Device]]:
    """What the factories yield; ``disks`` gets each disk, as soon as it is there."""
    from zoned.device import create_from

    with ExitStack() as stack:

        def make(**keywords: Any) -> Device:
            geometry = _geometry(_over(settings, keywords))
            device = stack.enter_context(create_from(None, geometry, replace=False))
            disks.append(device)
            device.faults.set_all(rules)
            device.trace.keep()
            return device

        yield make


@pytest.fixture
def zoned_device_factory(
    request: pytest.FixtureRequest, _zoned_keywords: tuple[dict[str, Any], list[Any]]
) -> Iterator[Callable[..., Device]]:
    """``zoned_device_factory(**keywords)``: a new disk in RAM each time; closed after the test."""
    yield from _factory(*_zoned_keywords, request.node.stash.setdefault(_disks, []))


def _wide(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> Iterator[Callable[..., Device]]:
    disks = _shared[str(request.fixturename)]
    yield from _factory(*_settings_of(request, zoned_settings), disks)
    disks.clear()


@pytest.fixture(scope="module")
def zoned_module_device_factory(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> Iterator[Callable[..., Device]]:
    """As zoned_device_factory, for disks that all tests of a module share; the marker is the one in
    its ``pytestmark``. They are closed behind its last test.
    """
    yield from _wide(request, zoned_settings)


@pytest.fixture(scope="session")
def zoned_session_device_factory(
    request: pytest.FixtureRequest, zoned_settings: dict[str, Any]
) -> Iterator[Callable[..., Device]]:
    """As zoned_device_factory, for disks that the whole session shares; no marker goes for them.
    They are closed at its end.
    """
    yield from _wide(request, zoned_settings)


@pytest.fixture
def zoned_device(zoned_device_factory: Callable[..., Device]) -> Device:
    """A disk in RAM, new for each test."""
    with _in_a_sentence():
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
        with _in_a_sentence():
            device.faults.set_all(rules)
        device.trace.keep()
    request.node.stash.setdefault(_disks, []).append(path)
    return path


@pytest.fixture
def zonefs(
    zoned_device: Device, _zoned_keywords: tuple[dict[str, Any], list[Any]]
) -> Iterator[Any]:
    """A zonefs on ``zoned_device``, used in this process. The marker's faults begin once it is
    there.
    """
    import zonefs as library

    _, rules = _zoned_keywords
    zoned_device.faults.clear()
    library.mkfs(zoned_device)
    with library.ZoneFS(zoned_device) as fs:
        zoned_device.faults.set_all(rules)
        yield fs


@pytest.fixture
def zonefs_mount(
    zoned_image: Path, tmp_path: Path, _zoned_keywords: tuple[dict[str, Any], list[Any]]
) -> Iterator[Path]:
    """The folder at which a zonefs on ``zoned_image`` is mounted, for any program. The marker's
    faults begin once it is there.
    """
    import zonefs as library
    from zoned.device import open as open_disk

    _, rules = _zoned_keywords
    folder = tmp_path / "zonefs"
    folder.mkdir()
    with open_disk(zoned_image) as device:
        device.faults.clear()
        library.mkfs(device)
    with library.mount(zoned_image, folder):
        if rules:
            with open_disk(zoned_image) as device:
                device.faults.set_all(rules)
        yield folder


@pytest.fixture
def zoned_run(
    zoned_image: Path, _zoned_keywords: tuple[dict[str, Any], list[Any]]
) -> Callable[..., RunResult]:
    """``zoned_run(command, **keywords)``: zoned.run with ``zoned_image`` as /dev/zoned0."""
    from zoned.running import run

    def start(command: Sequence[str], **keywords: Any) -> RunResult:
        return run(command, disks={"zoned0": zoned_image}, **keywords)

    return start


@pytest.fixture
def zoned_iscsi(zoned_device: Device) -> Iterator[Iscsi]:
    """``zoned_device`` as an iSCSI target on a free port of 127.0.0.1: ``.url`` for libiscsi and
    QEMU, ``.address`` and ``.iqn`` for others.
    """
    from zoned.export import iscsi

    with iscsi(zoned_device) as served:
        yield served


@pytest.fixture
def zoned_nvme(zoned_device: Device) -> Iterator[Nvme]:
    """``zoned_device``, which must be of dialect zns, by NVMe/TCP on a free port of 127.0.0.1:
    ``.nqn``, ``.address`` and ``.port`` for ``nvme connect``.
    """
    from zoned.export import nvme

    with nvme(zoned_device) as served:
        yield served


@pytest.fixture
def zoned_crashes(
    _zoned_keywords: tuple[dict[str, Any], list[Any]],
) -> Callable[..., CrashReport]:
    """``zoned_crashes(workload, verify, **keywords)``: check_crashes on the test's kind of disk.

    In the place of a workload it takes a history of one, its path or a ``zoned.crash.History``, of
    whatever processes: check_history.
    """
    from inspect import signature

    from zoned.testing import check_crashes, check_history

    settings, rules = _zoned_keywords
    own = set(signature(check_crashes).parameters) - {"profile"}

    def check(workload: Any, verify: Any, **keywords: Any) -> CrashReport:
        __tracebackhide__ = True
        if not callable(workload):
            return check_history(workload, verify, **keywords)
        how = {name: value for name, value in keywords.items() if name in own}
        disk = {name: value for name, value in keywords.items() if name not in own}
        shape = _shape(_over({n: v for n, v in settings.items() if n != "seed"}, disk))
        return check_crashes(workload, verify, **{"faults": rules} | shape | how)

    return check


# ---------------------------------------------------------------- failures and leaks


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        disks = [*item.stash.get(_disks, []), *_shared_by(item)]
        if disks:
            _add_sections(disks, report)
    return report


def _shared_by(item: pytest.Item) -> list[Device]:
    """The disks of wide fixtures that a test uses, itself or through others."""
    used = getattr(item, "fixturenames", ())
    return [disk for name in _WIDE if name in used for disk in _shared[name]]


def _add_sections(disks: list[Any], report: pytest.TestReport) -> None:
    from zoned.device import open as open_disk

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
    module = sys.modules.get("zoned._core.handle")
    return {id(dev): dev for dev in list(module.living) if not dev.closed} if module else {}


def _mounts(item: pytest.Item) -> set[str]:
    """Mount points below this run's temporary folder."""
    if "zoned.device" not in sys.modules:
        return set()
    factory = getattr(item.config, "_tmp_path_factory", None)
    if factory is None:
        return set()
    base = str(factory.getbasetemp())
    text = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    points = (line.split()[1].replace("\\040", " ") for line in text.splitlines())
    return {point for point in points if point.startswith(base)}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    item.stash[_before] = set(_open_devices()), _mounts(item)
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.remove(item)


def made(device: Device) -> None:
    """zoned calls it with each new Device, where pytest runs: the place is kept."""
    if not _running:
        return
    item = _running[-1]
    here = str(item.path)
    test: FrameType | None = None
    other: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and test is None:
        file = frame.f_code.co_filename
        if file == here:
            test = frame
        elif other is None and frame.f_globals.get("__name__", "").split(".")[0] not in _OURS:
            other = frame
        frame = frame.f_back
    found = test or other  # a thread of the test may have no line of its file
    if found is not None:
        path = Path(found.f_code.co_filename)
        with suppress(ValueError):
            path = path.relative_to(item.config.rootpath)
        _places[device] = f"{path}:{found.f_lineno}"


@pytest.hookimpl(trylast=True, wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    # Before any fixture is taken down: closing, unmounting and joining would wait for them.
    held = _let_go(item)
    yield
    if _before in item.stash:
        _look_for_leaks(item, held)
    elif held:
        pytest.fail(_told_of(held), pytrace=False)


def _let_go(item: pytest.Item) -> list[str]:
    """Commands that still hang by a fault rule go on, and no other one begins to: each rule by
    which some hung, in words.
    """
    before = item.stash[_before][0] if _before in item.stash else set()
    disks: list[Any] = item.stash.get(_disks, [])
    own = list(disks)
    known = {id(disk) for disk in own}
    own += [
        device for key, device in _open_devices().items() if key not in before and key not in known
    ]
    held: list[str] = []
    for disk in own:
        with suppress(OSError, ValueError):  # closed meanwhile, damaged or gone
            held += _held_by(disk)
    return list(dict.fromkeys(held))


def _held_by(disk: Any) -> list[str]:
    if isinstance(disk, Path):
        from zoned.device import open as open_disk

        with open_disk(disk, readonly=True) as device:
            if not _hangs(device):
                return []
        with open_disk(disk) as device:
            return _held_by(device)
    if disk.closed or disk.readonly:
        return []
    held = [f"{disk!r}: {fault}" for fault in _hangs(disk) if fault.waiting]
    for fault in _hangs(disk):
        fault.clear()
    return held


def _hangs(device: Device) -> list[Any]:
    return [fault for fault in device.faults if fault.rule.kind == "hang"]


def _told_of(held: list[str]) -> str:
    return f"the test ended while commands were hanging, which were let go: {'; '.join(held)}"


def _unmount(point: str) -> None:
    """Whoever serves it ends with it, and pytest can remove the folder."""
    with suppress(OSError, ImportError):
        from zonefs.attach import detach

        detach(point, lazy=True)


def _told(device: Device) -> str:
    place = _places.get(device)
    return repr(device) if place is None else f"{device!r}, made at {place}"


def _look_for_leaks(item: pytest.Item, held: list[str]) -> None:
    devices, mounts = item.stash[_before]
    if set(_open_devices()) - devices:
        gc.collect()  # what is only garbage was not left open
    devices |= {id(device) for name in _WIDE for device in _shared[name]}
    left = [_told(device) for key, device in _open_devices().items() if key not in devices]
    points = sorted(_mounts(item) - mounts)
    left += [f"the mount at {point}" for point in points]
    for point in points:
        _unmount(point)
    for device in [device for key, device in _open_devices().items() if key not in devices]:
        device.close()
    wrong = [_told_of(held)] if held else []
    if left:
        wrong.append(f"the test left open: {'; '.join(left)}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)
