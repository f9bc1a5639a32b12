"""Fault rules: each kind does what it says, exactly when it says, to every opener, and owns up to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

import zoned
from waiting import PATIENCE, until
from zoned import FaultError

MIB = 1 << 20
BLOCK = 4096


@pytest.fixture
def dev():
    with zoned.memory(size="16MiB", zone_size="1MiB", conventional=2, max_open=4) as device:
        yield device


def zone(n: int) -> int:
    return n * MIB


def test_a_medium_error_on_read_fills_the_buffer_up_to_the_block(dev: zoned.Device) -> None:
    data = os.urandom(4 * BLOCK)
    dev.pwrite(data, zone(3))
    bad = zone(3) + 2 * BLOCK
    with dev.faults.add("medium", on="read", block=bad, label="scratch") as fault:
        buffer = bytearray(4 * BLOCK)
        with pytest.raises(zoned.MediumError) as caught:
            dev.preadinto(buffer, zone(3))
        assert buffer == data[: 2 * BLOCK] + bytes(2 * BLOCK)
        error = caught.value
        assert error.injected and error.fault == fault.id and error.bound == bad
        assert str(error) == (
            f"read of 16384 bytes at {zone(3)} in zone 3 failed: medium error at {bad}, "
            f"what lies before it was read (injected by fault {fault.id}: scratch)"
        )
        assert dev.pread(2 * BLOCK, zone(3)) == data[: 2 * BLOCK]
        assert dev.pread(BLOCK, bad + BLOCK) == data[3 * BLOCK :]
        assert (fault.seen, fault.matched) == (1, 1)
    assert dev.pread(4 * BLOCK, zone(3)) == data


def test_a_medium_error_on_write_lands_what_comes_before(dev: zoned.Device) -> None:
    with dev.faults.add("medium", on="write,append", range=(zone(3) + BLOCK, zone(4)), once=True):
        with pytest.raises(zoned.MediumError, match="what lies before it was written"):
            dev.pwrite(b"x" * 3 * BLOCK, zone(3))
    assert dev.zones[3].wp == zone(3) + BLOCK
    assert dev.pread(2 * BLOCK, zone(3)) == b"x" * BLOCK + bytes(BLOCK)
    assert dev.append(3, b"y" * BLOCK) == zone(3) + BLOCK


@pytest.mark.parametrize("conventional", [True, False])
def test_a_torn_write_lands_its_first_blocks(dev: zoned.Device, conventional: bool) -> None:
    at = zone(0) if conventional else zone(5)
    with dev.faults.add("torn", blocks=2) as fault:
        dev.pwrite(b"a" * 2 * BLOCK, at)  # two blocks are no more than two
        with pytest.raises(zoned.MediumError) as caught:
            dev.pwrite(b"b" * 4 * BLOCK, at + 2 * BLOCK)
        assert caught.value.fault == fault.id
    assert dev.pread(6 * BLOCK, at) == b"a" * 2 * BLOCK + b"b" * 2 * BLOCK + bytes(2 * BLOCK)
    if not conventional:
        assert dev.zones[5].wp == at + 4 * BLOCK


def test_a_torn_append_says_where_it_broke(dev: zoned.Device) -> None:
    dev.append(4, b"a" * BLOCK)
    with dev.faults.add("torn", on="append", blocks=1):
        with pytest.raises(zoned.MediumError) as caught:
            dev.append(4, b"b" * 3 * BLOCK)
    assert caught.value.bound == zone(4) + 2 * BLOCK
    assert dev.zones[4].wp == zone(4) + 2 * BLOCK


def test_a_torn_write_of_a_512e_disk_keeps_physical_blocks() -> None:
    with zoned.memory(size="8MiB", zone_size="1MiB", logical_block=512, physical_block=4096) as dev:
        with dev.faults.add("torn", blocks=9), pytest.raises(zoned.MediumError):
            dev.pwrite(b"a" * 8192, zone(3))
        assert dev.zones[3].wp == zone(3) + 4096
        dev.pwrite(b"b" * 4096, zone(3) + 4096)


def test_a_lost_write_survives_a_flush_but_no_power_cut(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * BLOCK, zone(3))
    with dev.faults.add("lost", zones=3, once=True) as fault:
        dev.pwrite(b"b" * BLOCK, zone(3) + BLOCK)
        assert fault.matched == 1
    dev.pwrite(b"c" * BLOCK, zone(3) + 2 * BLOCK)
    dev.pwrite(b"d" * BLOCK, zone(4))
    dev.flush()
    assert dev.zones[3].durable_wp == zone(3) + 3 * BLOCK
    assert dev.pread(BLOCK, zone(3) + BLOCK) == b"b" * BLOCK
    dev.power_cut("all")
    dev.power_on()
    assert dev.zones[3].wp == zone(3) + BLOCK
    assert dev.zones[4].wp == zone(4) + BLOCK


def test_a_reset_forgets_what_was_lost(dev: zoned.Device) -> None:
    with dev.faults.add("lost"):
        dev.pwrite(b"a" * BLOCK, zone(3))
    dev.reset_zone(3)
    dev.pwrite(b"b" * BLOCK, zone(3))
    dev.flush()
    dev.power_cut()
    dev.power_on()
    assert dev.pread(BLOCK, zone(3)) == b"b" * BLOCK


def test_an_error_at_the_next_flush_comes_once_and_makes_nothing_durable(dev: zoned.Device) -> None:
    with dev.faults.add("flush-error", on="write", label="late") as fault:
        dev.pwrite(b"a" * BLOCK, zone(3))
    with pytest.raises(zoned.MediumError, match=rf"injected by fault {fault.id}: late") as caught:
        dev.flush()
    assert caught.value.fault == fault.id
    assert dev.zones[3].durable_wp == zone(3)
    dev.flush()
    assert dev.zones[3].durable_wp == zone(3) + BLOCK


def test_a_flip_on_read_spoils_the_buffer_and_not_the_media(dev: zoned.Device) -> None:
    dev.pwrite(bytes(2 * BLOCK), zone(3))
    with dev.faults.add("flip-read", block=zone(3) + BLOCK, bit=13):
        assert dev.pread(BLOCK, zone(3)) == bytes(BLOCK)
        got = dev.pread(2 * BLOCK, zone(3))
    assert got[BLOCK + 1] == 1 << 5
    assert got.count(0) == 2 * BLOCK - 1
    assert dev.pread(2 * BLOCK, zone(3)) == bytes(2 * BLOCK)


@pytest.mark.parametrize("where", [0, 3])
def test_a_flip_on_media_stays(dev: zoned.Device, where: int) -> None:
    with dev.faults.add("flip-media", bit=8 * BLOCK + 7, once=True):
        dev.pwrite(bytes(2 * BLOCK), zone(where))
    got = dev.pread(2 * BLOCK, zone(where))
    assert got[BLOCK] == 0x80 and got.count(0) == 2 * BLOCK - 1


def test_drawn_bits_come_from_the_seed() -> None:
    found = []
    for seed in (1, 1, 2):
        with zoned.memory(size="8MiB", zone_size="1MiB") as dev:
            dev.faults.add("flip-read", seed=seed)
            found.append([dev.pread(BLOCK, zone(3)) for _ in range(3)])
    assert found[0] == found[1] != found[2]
    assert all(sum(byte.bit_count() for byte in data) == 1 for data in found[0])


@pytest.mark.parametrize(
    ("kind", "error"), [("read-only", zoned.ZoneReadOnlyError), ("offline", zoned.ZoneOfflineError)]
)
def test_zones_die_before_or_after_the_command(dev: zoned.Device, kind: str, error: type) -> None:
    condition = zoned.ZoneCondition[kind.upper().replace("-", "_")]
    with dev.faults.add(kind, on="write", zones="3-4", once=True) as fault:
        with pytest.raises(error) as caught:
            dev.pwrite(b"a" * BLOCK, zone(4))
        assert caught.value.injected and caught.value.fault == fault.id
    assert dev.zones[4].condition is condition
    assert dev.zones[3].condition is zoned.ZoneCondition.EMPTY
    with dev.faults.add(kind, on="write", zones=5, after=True):
        dev.pwrite(b"a" * BLOCK, zone(5))
    assert dev.zones[5].condition is condition
    with pytest.raises(error) as caught:
        dev.pwrite(b"a" * BLOCK, zone(5) + BLOCK)
    assert not caught.value.injected


def test_latency_is_real_virtual_or_both(dev: zoned.Device) -> None:
    with dev.faults.add("latency", on="flush", virtual_latency="3ms", every=2):
        for _ in range(4):
            dev.flush()
    assert dev.faults.virtual_latency == pytest.approx(0.006)
    with dev.faults.add("latency", on="flush", latency=0.03):
        begin = time.monotonic()
        dev.flush()
        assert time.monotonic() - begin >= 0.03


def test_a_hang_holds_no_lock_and_is_released(dev: zoned.Device) -> None:
    with dev.faults.add("hang", on="write", zones=3) as fault:
        thread = threading.Thread(target=dev.pwrite, args=(b"a" * BLOCK, zone(3)))
        thread.start()
        until(lambda: fault.waiting, "the write hangs")
        dev.reset_zone(3)  # the zone's lock is free
        dev.pwrite(b"b" * BLOCK, zone(4))
        assert dev.zones[3].wp == zone(3)
        fault.release()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert fault.waiting == 0
    assert dev.zones[3].wp == zone(3) + BLOCK


def test_a_killed_process_hangs_no_longer_than_till_a_release(dev: zoned.Device) -> None:
    with dev.faults.add("hang", on="write", zones=3) as fault:
        child = os.fork()
        if child == 0:
            try:
                dev.pwrite(b"a" * BLOCK, zone(3))
            finally:
                os._exit(0)
        until(lambda: fault.waiting, "the write hangs")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        fault.release()
        assert fault.waiting == 0
        thread = threading.Thread(target=dev.pwrite, args=(b"a" * BLOCK, zone(3)))
        thread.start()
        until(lambda: fault.waiting, "the write hangs")
        fault.release()
        thread.join()
        assert (fault.waiting, fault.matched) == (0, 2)


def test_a_hang_times_out_undone(dev: zoned.Device) -> None:
    with dev.faults.add("hang", on="write", timeout="20ms") as fault:
        with pytest.raises(zoned.CommandTimeoutError, match="was not done") as caught:
            dev.pwrite(b"a" * BLOCK, zone(3))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.fault == fault.id
    assert dev.zones[3].wp == zone(3)


def test_clearing_lets_go_what_hangs_and_a_power_cut_ends_it(dev: zoned.Device) -> None:
    errors: list[BaseException | None] = []

    def write() -> None:
        try:
            dev.pwrite(b"a" * BLOCK, zone(3))
            errors.append(None)
        except zoned.PowerLossError as error:
            errors.append(error)

    for end in (dev.faults.clear, dev.power_cut):
        fault = dev.faults.add("hang", on="write")
        thread = threading.Thread(target=write)
        thread.start()
        until(lambda fault=fault: fault.waiting, "the write hangs")
        end()
        thread.join(PATIENCE)
        assert not thread.is_alive()
        dev.power_on()
        dev.faults.clear()
        dev.reset_all()
    assert errors[0] is None
    assert isinstance(errors[1], zoned.PowerLossError)


def test_ctrl_c_ends_a_hang(dev: zoned.Device) -> None:
    class InterruptError(Exception):
        pass

    def handler(*_: object) -> None:
        raise InterruptError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        with dev.faults.add("hang", on="read"):
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(InterruptError):
                dev.pread(BLOCK, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_spurious_limits(dev: zoned.Device) -> None:
    with dev.faults.add("limit", on="write", once=True):
        dev.pwrite(b"a" * BLOCK, zone(0))  # conventional: needs no resource
        with pytest.raises(zoned.TooManyOpenError) as caught:
            dev.pwrite(b"a" * BLOCK, zone(3))
        assert caught.value.injected
        assert str(caught.value) == (
            f"write at {zone(3)} in zone 3 needs one more open zone, and none is left "
            "(injected by fault 1)"
        )
        dev.pwrite(b"a" * BLOCK, zone(3))
    with dev.faults.add("limit", on="open", active=True):
        with pytest.raises(
            zoned.TooManyActiveError, match="one more active zone, and none is left"
        ):
            dev.open_zone(5)


def test_nth_every_times_and_probability(dev: zoned.Device) -> None:
    def failures(count: int, **when: object) -> list[int]:
        failed = []
        with dev.faults.add("medium", on="read", **when) as fault:
            for at in range(1, count + 1):
                try:
                    dev.pread(BLOCK, 0)
                except zoned.MediumError:
                    failed.append(at)
            assert fault.seen == count and fault.matched == len(failed)
        return failed

    assert failures(5, nth=3) == [3]
    assert failures(7, every=3) == [3, 6]
    assert failures(5, times=2) == [1, 2]
    assert failures(9, every=2, times=2) == [2, 4]
    by_chance = failures(400, probability=0.25, seed=7)
    assert 60 < len(by_chance) < 140
    assert failures(400, probability=0.25, seed=7) == by_chance
    assert failures(400, probability=0.25, seed=8) != by_chance


def test_zone_commands_and_flush_fail_without_having_done_anything(dev: zoned.Device) -> None:
    dev.pwrite(b"a" * BLOCK, zone(3))
    with dev.faults.add("medium", on="reset,flush,reset-all") as fault:
        for call in (lambda: dev.reset_zone(3), dev.flush, dev.reset_all):
            with pytest.raises(zoned.MediumError, match="injected by fault"):
                call()
        assert fault.matched == 3
    assert dev.zones[3].wp == zone(3) + BLOCK
    assert dev.zones[3].durable_wp == zone(3)


def test_a_range_of_zones_is_one_command_each(dev: zoned.Device) -> None:
    with dev.faults.add("medium", on="open", zones=5):
        with pytest.raises(zoned.MediumError) as caught:
            dev.open_zone(3, 4)
    assert caught.value.zone == 5
    assert [z.condition.name for z in dev.report(3, 4)] == ["EXPLICIT_OPEN"] * 2 + ["EMPTY"] * 2


def test_orders_decide_who_acts(dev: zoned.Device) -> None:
    late = dev.faults.add("medium", on="read", label="late", order=2)
    early = dev.faults.add("medium", on="read", label="early", order=1, every=2)
    labels = []
    for _ in range(4):
        with pytest.raises(zoned.MediumError) as caught:
            dev.pread(BLOCK, 0)
        labels.append(caught.value.fault)
    assert labels == [late.id, early.id, late.id, early.id]
    assert [fault.id for fault in dev.faults] == [early.id, late.id]
    assert (early.seen, late.seen) == (4, 2)


def test_commands_that_are_wrong_by_themselves_meet_no_rule(dev: zoned.Device) -> None:
    with dev.faults.add("medium") as fault:
        with pytest.raises(zoned.BlockAlignmentError):
            dev.pread(5, 0)
        with pytest.raises(zoned.OutOfRangeError):
            dev.pread(BLOCK, 16 * MIB)
        assert dev.pread(0, 0) == b""
        assert fault.seen == 0


@pytest.mark.parametrize(
    ("kind", "keywords", "sentence"),
    [
        ("medum", {}, "there is no kind of fault 'medum' (did you mean medium?)"),
        ("torn", {"on": "read"}, "a torn write can never happen on read"),
        ("medium", {"on": "wirte"}, "there is no command 'wirte' (did you mean write?)"),
        ("medium", {"zones": 99}, "zone 99 does not exist: the disk has zones 0 to 15"),
        ("medium", {"zones": "7-3"}, "zones: the range 7-3 runs backwards: write 3-7"),
        ("medium", {"zones": "1,3"}, "zones are 1,3: a rule holds for one range of zones"),
        (
            "medium",
            {"range": (4096, 4096)},
            "the byte range 4096 to 4096 must be ascending and in whole blocks of 4096 bytes",
        ),
        (
            "medium",
            {"range": ("0", "64MiB")},
            "the byte range ends at 67108864, but the disk at 16777216",
        ),
        (
            "medium",
            {"range": (0, 4096), "zones": 3},
            "the byte range lies outside the rule's zones, so it can never act",
        ),
        (
            "medium",
            {"range": (0, 4096), "on": "reset"},
            "reset has no place on the disk, so a rule with a byte range can never meet it",
        ),
        (
            "medium",
            {"block": 0, "range": (0, 4096)},
            "block and range exclude each other: give one of them",
        ),
        (
            "medium",
            {"on": "flush", "zones": 3},
            "flush has no place on the disk, so a rule with zones can never meet it",
        ),
        (
            "medium",
            {"nth": 2, "every": 3},
            "nth, every and probability exclude each other: give at most one",
        ),
        (
            "medium",
            {"nth": 2, "times": 3},
            "the nth command comes only once, so a limit of 3 is never reached",
        ),
        ("medium", {"probability": 1.5}, "probability is 1.5: it must be 0 to 1"),
        (
            "medium",
            {"once": True, "times": 3},
            "once and times=3 exclude each other: give one of them",
        ),
        (
            "medium",
            {"blocks": 3},
            "a number of blocks belongs to a torn write, not to a medium error",
        ),
        (
            "torn",
            {"blocks": 256},
            "a write of more than 256 blocks does not fit into a zone, so the rule can never act",
        ),
        (
            "limit",
            {"zones": "0-1"},
            "zone 0 and all others of the rule are conventional, so it can never act",
        ),
        (
            "medium",
            {"zones": 1, "on": "append,reset"},
            "zone 1 and all others of the rule are conventional, so it can never act",
        ),
        ("latency", {}, "latency of 0 ns changes nothing"),
        (
            "latency",
            {"latency": "soon"},
            "latency is 'soon': write seconds, or a text such as 50ms",
        ),
        ("medium", {"latency": 1}, "latency belongs to latency, not to medium"),
        ("medium", {"timeout": 1}, "timeout belongs to hang, not to medium"),
        ("medium", {"after": True}, "a medium error does not know before and after"),
        ("medium", {"bit": 3}, "bit belongs to flip-read and flip-media, not to medium"),
        ("medium", {"keep": "all"}, "keep belongs to power-cut, not to medium"),
        (
            "power-cut",
            {"keep": "some"},
            "there is no choice of survivors 'some': there are durable, all, random",
        ),
        (
            "flip-read",
            {"block": 0, "bit": 32768},
            "bit 32768 lies behind the rule's byte range, so it can never act",
        ),
        ("medium", {"nth": -1}, "nth is -1: it must be 0 to 9223372036854775808"),
        ("medium", {"label": "x" * 48}, "label is longer than 47 bytes of UTF-8, or holds a NUL"),
    ],
)
def test_impossible_rules_are_refused_in_one_sentence(
    dev: zoned.Device, kind: str, keywords: dict, sentence: str
) -> None:
    with pytest.raises(FaultError) as caught:
        dev.faults.add(kind, **keywords)
    assert str(caught.value) == sentence
    assert len(dev.faults) == 0


def test_overlap_without_order_is_refused(dev: zoned.Device) -> None:
    dev.faults.add("medium", on="write", zones="3-5")
    for kind, keywords in (
        ("torn", {"zones": 5}),
        ("latency", {"latency": 1}),
        ("medium", {"on": ["write"]}),
    ):
        with pytest.raises(
            FaultError, match=r"fault 1 meets the same commands .* give the rules different orders"
        ):
            dev.faults.add(kind, **keywords)
    dev.faults.add("medium", on="read", zones="3-5")
    dev.faults.add("medium", on="write", range=(zone(3), zone(4)), order=1)
    dev.faults.add("medium", on="write", zones="6-7")
    with pytest.raises(TypeError, match=r"unknown keyword 'zone' \(did you mean zones\?\)"):
        dev.faults.add("medium", zone=3)


def test_rules_for_disks_that_cannot_meet_them() -> None:
    with zoned.memory(size="8MiB", zone_size="1MiB", data="none") as dev:
        with pytest.raises(FaultError, match="keeps no data"):
            dev.faults.add("flip-media")
    with zoned.memory(size="8MiB", zone_size="1MiB", dialect="nullblk") as dev:
        with pytest.raises(FaultError, match="has no such command"):
            dev.faults.add("medium", on="open-all")


def test_the_table_has_an_end(dev: zoned.Device) -> None:
    for order in range(64):
        dev.faults.add("medium", on="reset", order=order)
    with pytest.raises(FaultError, match="64 faults are set already"):
        dev.faults.add("medium", on="reset", order=64)
    with pytest.raises(FaultError, match="there is no fault 99"):
        dev.faults.clear(99)
    dev.faults.clear()
    dev.reset_zone(3)
    assert dev.faults.add("medium").id == 65


def test_rules_stay_with_the_image_and_act_on_every_opener(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="8MiB", zone_size="1MiB") as dev:
        dev.faults.add("medium", on="write", zones=3, times=3, label="old")
    with zoned.open(path) as dev, zoned.open(path) as other:
        for opener in (dev, other):
            with pytest.raises(zoned.MediumError, match="fault 1: old"):
                opener.pwrite(b"a" * BLOCK, zone(3))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(write_elsewhere, (str(path), zone(3))) == "MediumError 1"
        assert next(iter(other.faults)).matched == 3
        other.pwrite(b"a" * BLOCK, zone(3))
        other.faults.clear()
        assert len(dev.faults) == 0


def write_elsewhere(path: str, offset: int) -> str:
    with zoned.open(path) as dev:
        try:
            dev.pwrite(b"a" * BLOCK, offset)
        except zoned.ZonedError as error:
            return f"{type(error).__name__} {error.fault}"
    return "written"


def test_read_only_openers_meet_the_rules_that_need_no_count(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with zoned.create(path, size="8MiB", zone_size="1MiB") as dev:
        dev.faults.add("medium", on="read", zones=3)
        dev.faults.add("medium", on="read", zones=4, nth=1)
        with zoned.open(path, readonly=True) as reader:
            with pytest.raises(zoned.MediumError, match="injected by fault 1"):
                reader.pread(BLOCK, zone(3))
            assert reader.pread(BLOCK, zone(4)) == bytes(BLOCK)
            assert len(reader.faults) == 2
            with pytest.raises(OSError, match="read-only"):
                reader.faults.clear()
    with zoned.open(path, readonly=True) as reader:
        assert [fault.id for fault in reader.faults] == [1, 2]


def test_plans(dev: zoned.Device, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        '[[fault]]\nkind = "medium"\non = ["write", "append"]\nzones = "3-4"\nnth = 2\nlabel = "one"\n'
        '[[fault]]\nkind = "latency"\nvirtual_latency = "2ms"\non = "read"\n'
    )
    with dev.faults.load(path) as plan:
        assert [str(fault.rule.kind) for fault in plan] == ["medium", "latency"]
        dev.append(3, b"a" * BLOCK)
        with pytest.raises(zoned.MediumError, match="one"):
            dev.append(4, b"a" * BLOCK)
    assert len(dev.faults) == 0
    assert plan[0].matched == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[[fault]]\nkind = 'medium'\nzoens = 3\n",
            "fault 1: unknown key zoens (did you mean zones?)",
        ),
        ("[[fault]]\nkind = 'medium'\n[[fault]]\nzones = 3\n", "fault 2: kind is missing"),
        (
            "[[fault]]\nkind = 'torn'\nblocks = 'x'\n",
            "fault 1: blocks is 'x': it must be a whole number",
        ),
        (
            "[[fault]]\nkind = 'medium'\nprobability = 'often'\n",
            "fault 1: probability is 'often': it must be a number",
        ),
        ("[[fault]]\nkind = 'medium'\nlabel = 3\n", "fault 1: label is 3: it must be a text"),
        (
            "[[fault]]\nkind = 'medium'\nonce = 'no'\n",
            "fault 1: once is 'no': it must be true or false",
        ),
        (
            "[[fault]]\nkind = 'offline'\nafter = 'false'\n",
            "fault 1: after is 'false': it must be true or false",
        ),
        (
            "[[fault]]\nkind = 'medium'\nnth = true\n",
            "fault 1: nth is True: it must be a whole number",
        ),
        ("[[fault]]\nkind = 'medium'\non = 3\n", "fault 1: on is 3: it must be names of commands"),
        (
            "[[fault]]\nkind = 'medium'\nzones = [3, 7]\n",
            "fault 1: zones is [3, 7]: it must be a zone, a text such as 3-7, or (first, count)",
        ),
        (
            "[[fault]]\nkind = 'medium'\nzones = 1.5\n",
            "fault 1: zones is 1.5: it must be a zone, a text such as 3-7, or (first, count)",
        ),
        (
            "[[fault]]\nkind = 'medium'\nrange = 5.0\n",
            "fault 1: range is 5.0: it must be a pair, the first byte and the first behind it",
        ),
        (
            "[[fault]]\nkind = 'medium'\nrange = ['a', 'b']\n",
            "fault 1: range: 'a' is not a size",
        ),
        (
            "[[fault]]\nkind = 'hang'\ntimeout = 1e-12\n",
            "fault 1: timeout is 1e-12: less than a nanosecond is none",
        ),
        (
            "[[fault]]\nkind = 'medium'\n[[fault]]\nkind = 'torn'\nzones = 99\norder = 1\n",
            "fault 2: zone 99 does not exist: the disk has zones 0 to 15",
        ),
        ("faults = 3\n", "unknown key faults; rules are tables [[fault]]"),
        ("fault = 3\n", "it needs at least one table [[fault]]"),
        ("[[fault", "not TOML"),
    ],
)
def test_bad_plans_are_told_in_one_sentence(
    dev: zoned.Device, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(FaultError) as caught:
        dev.faults.load(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(dev.faults) == 0


def test_a_plan_sets_all_or_nothing(dev: zoned.Device, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text("[[fault]]\nkind = 'medium'\n[[fault]]\nkind = 'torn'\nzones = 99\norder = 1\n")
    with pytest.raises(FaultError, match="zone 99 does not exist"):
        dev.faults.load(path)
    assert len(dev.faults) == 0


# ---------------------------------------------------------------- what comes first


@pytest.mark.parametrize("acting", [{"once": True}, {"nth": 1}, {"times": 1}])
def test_a_rule_that_can_no_longer_act_forbids_none(dev: zoned.Device, acting: dict) -> None:
    spent = dev.faults.add("medium", on="write", zones=3, **acting)
    with pytest.raises(FaultError, match="same command"):
        dev.faults.add("medium", on="write", zones=3, **acting)
    with pytest.raises(zoned.MediumError):
        dev.pwrite(bytes(BLOCK), zone(3))
    equal = dev.faults.add("medium", on="write", zones=3, **acting)
    with pytest.raises(zoned.MediumError) as caught:
        dev.pwrite(bytes(BLOCK), zone(3))
    assert caught.value.fault == equal.id != spent.id
    dev.pwrite(bytes(BLOCK), zone(3))
    assert (spent.matched, equal.matched) == (1, 1)


REFUSED = {
    "behind the pointer": (zoned.UnalignedWriteError, lambda d: d.pwrite(bytes(BLOCK), zone(3))),
    "a gap": (zoned.UnalignedWriteError, lambda d: d.pwrite(bytes(BLOCK), zone(5) + BLOCK)),
    "over the boundary": (
        zoned.WriteBoundaryError,
        lambda d: d.pwrite(bytes(2 * BLOCK), zone(4) - BLOCK),
    ),
    "into what follows": (
        zoned.WriteBoundaryError,
        lambda d: d.pwrite(bytes(2 * BLOCK), zone(2) - BLOCK),
    ),
    "a full zone": (zoned.ZoneFullError, lambda d: d.append(6, bytes(BLOCK))),
    "a read-only zone": (zoned.ZoneReadOnlyError, lambda d: d.append(7, bytes(BLOCK))),
    "a zone too many": (zoned.TooManyOpenError, lambda d: d.append(12, bytes(BLOCK))),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "medium", "on": "write,append"},
        {"kind": "torn", "blocks": 0},
        {"kind": "lost"},
        {"kind": "limit"},
    ],
    ids=lambda rule: rule["kind"],
)
def test_what_the_rules_refuse_meets_no_fault_of_the_medium(
    dev: zoned.Device, rule: dict, what: str
) -> None:
    """As in a drive: where a command may not go at all comes before what the medium makes of it."""
    dev.pwrite(bytes(2 * BLOCK), zone(3))
    dev.finish_zone(6)
    dev.set_condition(7, "read-only")
    dev.close_zone(3)
    for number in (8, 9, 10, 11):
        dev.open_zone(number)
    before = [(found.wp, found.condition) for found in dev.report()]
    fault = dev.faults.add(**rule)
    error, command = REFUSED[what]
    with pytest.raises(error) as caught:
        command(dev)
    assert not caught.value.injected
    assert (fault.seen, fault.matched) == (0, 0)
    assert [(found.wp, found.condition) for found in dev.report()] == before


def test_what_happens_to_the_disk_happens_whatever_becomes_of_the_command(
    dev: zoned.Device,
) -> None:
    fault = dev.faults.add("latency", on="write", virtual_latency=1.0)
    with pytest.raises(zoned.UnalignedWriteError):
        dev.pwrite(bytes(BLOCK), zone(5) + BLOCK)
    assert (fault.seen, fault.matched) == (1, 1)


def test_a_cut_command_is_judged_by_its_whole_length(dev: zoned.Device) -> None:
    dev.pwrite(bytes(MIB - 2 * BLOCK), zone(3))
    with dev.faults.add("torn", blocks=1) as fault:
        with pytest.raises(zoned.WriteBoundaryError):
            dev.pwrite(bytes(3 * BLOCK), zone(4) - 2 * BLOCK)
        with pytest.raises(zoned.MediumError):
            dev.pwrite(bytes(2 * BLOCK), zone(4) - 2 * BLOCK)
        assert (fault.seen, fault.matched) == (1, 1)
    assert dev.zones[3].wp == zone(4) - BLOCK


# ---------------------------------------------------------------- the end of a handle


def test_closing_ends_the_commands_of_its_handle_that_hang(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    zoned.create(path, size="16MiB", zone_size="1MiB").close()
    dev, other = zoned.open(path), zoned.open(path)
    fault = dev.faults.add("hang", on="append", zones=(3, 5))
    ended: dict[str, object] = {}

    def command(name: str, disk: zoned.Device, number: int) -> None:
        try:
            ended[name] = disk.append(number, bytes(BLOCK))
        except ValueError as error:
            ended[name] = str(error)

    threads = [
        threading.Thread(target=command, args=args, daemon=True)
        for args in (("mine", dev, 3), ("other", other, 5))
    ]
    for thread in threads:
        thread.start()
    until(lambda: fault.waiting == 2, "both hang")
    dev.close()
    threads[0].join(PATIENCE)
    assert "closed" in str(ended["mine"])
    assert list(ended) == ["mine"]  # those of others go on hanging
    assert other.zones[3].wp == zone(3)
    other.faults.clear()
    threads[1].join(PATIENCE)
    assert ended["other"] == zone(5)
    other.close()
    assert zoned.check(path) == []
