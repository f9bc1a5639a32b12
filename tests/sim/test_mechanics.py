"""A disk's mechanics and an SSD's costs one by one: each number of a profile shows where it should, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from sim.helpers import KIB, MIB, SECOND
from zoned._core.native import ffi
from zoned.bench import Job, Model, Run, Simulation
from zoned.drives.models import load_drive, load_model
from zoned.geometry import Geometry
from zoned.resolving import resolve

ZONE = 256 * MIB
ZONES = 4000
DISK: Geometry = resolve(
    {}, {"size": ZONES * ZONE, "zone_size": ZONE, "conventional": ZONES}, profile="hdd"
)
TURN = 60 * SECOND // 7200
PLAIN = {
    "readahead": 0,
    "cache": 0,
    "overhead_us": 0,
    "zone_switch_ms": 0,
    "write_settle_ms": 0,
    "head_switch_ms": 0,
}


def hdd(**changes: Any) -> Model:
    model = load_model("hc620").but(host_us=0)
    return model.but(**{f"hdd__{name}": value for name, value in (PLAIN | changes).items()})


def accesses(
    model: Model, *offsets: int, write: bool = False, length: int = 4 * KIB, pause: int = SECOND
) -> Run:
    """One command after the other at these offsets, ``pause`` ns apart."""
    array = ffi.new("struct zd_sim_record[]", len(offsets))
    for number, (record, offset) in enumerate(zip(array, offsets, strict=True)):
        record.time, record.offset, record.length, record.dir = (
            number * pause,
            offset,
            length,
            int(write),
        )
    sim = Simulation(DISK, model, 1)
    index = sim.add(Job("t", kind="trace", size=DISK.size, reads=True, writes=True))
    sim.feed(index, iter([(array, len(offsets))]))
    return sim.run()


def seek_ms(model: Model, a: int, b: int, write: bool = False) -> float:
    """From one place to the other: what the second access added to the time spent seeking."""
    two, one = accesses(model, a, b, write=write), accesses(model, a, write=write)
    return (two.parts["seek"] - one.parts["seek"]) / 1e6


# ---------------------------------------------------------------------------------------- hard disk


def cylinder_bytes(model: Model) -> int:
    """Of the first zone: one revolution (and head switch) at the outer rate, by all heads."""
    track = float(model.get("hdd.rate_outer_mb_s")) * 1e6 * TURN / 1e9
    return int(track) // 512 * 512 * int(model.get("hdd.heads"))


def test_three_points_of_the_seek_curve() -> None:
    """One cylinder, a third of all, and all of them take the times that the profile names."""
    model = hdd(
        seek_one_ms=2, seek_avg_ms=9, seek_full_ms=17, rate_inner_mb_s=257.5, rate_outer_mb_s=257.5
    )
    assert seek_ms(model, 0, cylinder_bytes(model) + 4096) == pytest.approx(2, rel=1e-3)
    assert seek_ms(model, 0, DISK.size // 3) == pytest.approx(2 + 5 / 3 + 10 * 3**-0.5, rel=1e-3), (
        "DiskSim's curve, a third of the way"
    )
    assert seek_ms(model, 0, DISK.size - MIB) == pytest.approx(17, rel=1e-3)
    assert seek_ms(model, 0, 4096) == 0, "the same track"
    # The average over all distances of random pairs is what "average" means.
    places = [DISK.size * at // 64 for at in range(64)]
    mean = (
        sum(seek_ms(model, places[a], places[b]) for a in range(0, 64, 5) for b in range(1, 64, 7))
        / 13
        / 9
    )
    assert mean == pytest.approx(9, rel=0.1)


def test_a_seek_takes_no_less_than_a_head_switch() -> None:
    model = hdd(seek_one_ms=0.3, head_switch_ms=1.5)
    assert seek_ms(model, 0, 3 * MIB) == pytest.approx(1.5)


def test_rotation_follows_the_angle() -> None:
    """Half a track on, the head waits half a turn less what has passed; at the same place, a whole one."""
    model = hdd()
    track = cylinder_bytes(model) // int(model.get("hdd.heads"))
    length = 4096
    passing = TURN * length // track
    for offset in (0, track // 2 // 4096 * 4096, track // 4 // 4096 * 4096):
        run, first = accesses(model, length, offset, pause=1), accesses(model, length)
        on = (offset - 2 * length) % track
        assert run.parts["rotate"] - first.parts["rotate"] == pytest.approx(
            TURN * on // track, abs=passing
        )


def test_a_faster_spindle_turns_and_transfers_faster() -> None:
    slow, fast = (accesses(hdd(rpm=rpm), 4096, 0, pause=1) for rpm in (5400, 15000))
    assert slow.now / fast.now == pytest.approx(15000 / 5400, rel=0.02)


def test_a_head_switch_between_tracks() -> None:
    """16 MiB in one command: seven track ends at 2.35 MB each, a switch at every one."""
    run = accesses(hdd(head_switch_ms=0.8), 4096, length=16 * MIB)
    assert run.parts["switch"] == 7 * 800_000
    assert accesses(hdd(), 4096, length=16 * MIB).parts["switch"] == 0


def test_writes_settle_after_a_seek() -> None:
    model = hdd(write_settle_ms=0.6)
    far = DISK.size // 2
    assert seek_ms(model, 0, far, write=True) - seek_ms(model, 0, far) == pytest.approx(0.6)


def test_a_stream_pays_for_passing_into_the_next_zone() -> None:
    across = [
        accesses(hdd(zone_switch_ms=ms), ZONE - 8 * MIB, length=8 * MIB, pause=1) for ms in (0, 59)
    ]
    assert across[0].now == across[1].now, "not before it gets there"
    runs = []
    for ms in (0, 59):
        sim = Simulation(DISK, hdd(zone_switch_ms=ms, readahead="2MiB"), 1)
        sim.add(Job("r", iodepth=8, size=3 * ZONE, reads=True).set_bs(MIB))
        runs.append(sim.run())
    assert runs[1].now - runs[0].now == pytest.approx(2 * 59e6, rel=0.1)


def test_nothing_is_read_ahead_behind_the_last_block() -> None:
    """Under the sanitizers: the model looked there for the rate of a zone that is not there."""
    model, far = hdd(readahead="2MiB"), DISK.size // 2
    run, alone = accesses(model, DISK.size - 4 * KIB, far), accesses(model, DISK.size - 4 * KIB)
    assert (
        run.parts["seek"] - alone.parts["seek"]
        == accesses(hdd(), DISK.size - 4 * KIB, far).parts["seek"]
        - accesses(hdd(), DISK.size - 4 * KIB).parts["seek"]
    )


def test_the_rate_falls_with_the_zone() -> None:
    """16 MiB in one command, at the first zone, in the middle and at the last."""
    model = hdd(rate_outer_mb_s=240, rate_inner_mb_s=120)
    for zone, rate in ((0, 240), (ZONES // 2, 180), (ZONES - 1, 120)):
        run = accesses(model, zone * ZONE, length=16 * MIB)
        assert 16 * MIB / (run.parts["media"] / 1e9) / 1e6 == pytest.approx(rate, rel=0.002)


def test_the_electronics_and_the_interface_cost() -> None:
    quick, slow = (accesses(hdd(overhead_us=us), 0) for us in (0, 500))
    assert slow.now - quick.now == 500_000
    cached = accesses(hdd(cache="64MiB", interface_mb_s=100), 0, write=True, length=10 * MIB)
    assert cached.total(1).maximum == pytest.approx(10 * MIB / 100e6 * 1e9, rel=1e-3)


@pytest.mark.parametrize(
    ("command", "finish", "parameter"),
    [(0, False, "reset_ms"), (0, True, "finish_ms"), (1, False, "open_ms"), (2, False, "close_ms")],
)
def test_each_zone_command_has_its_cost(command: int, finish: bool, parameter: str) -> None:
    geometry = resolve(
        {}, {"size": 100 * ZONE, "zone_size": ZONE, "conventional": 0}, profile="hdd"
    )
    sim = Simulation(geometry, hdd(**{parameter: 11, "overhead_us": 1}))
    job = Job("z", kind="zones", size=geometry.size, zones_count=10, occupancy=0.5)
    job.zones_command, job.zones_finish = command, finish
    sim.add(job)
    stats = sim.run().total(2)
    assert (stats.count, stats.minimum, stats.maximum) == (10, 11_001_000, 11_001_000)


# --------------------------------------------------------------------------------------------- ZNS


def zns(**changes: Any) -> tuple[Geometry, Model]:
    profile, model = load_drive("zn540")
    return profile.geometry(), model.but(
        host_us=0, **{f"zns__{name}": value for name, value in changes.items()}
    )


def zone_command(
    command: int, occupancy: float, finish: bool = False, finished: bool = False, **changes: Any
) -> float:
    """Mean latency in us."""
    geometry, model = zns(**changes)
    sim = Simulation(geometry, model, 1)
    job = Job("z", kind="zones", size=geometry.size, zones_count=20, occupancy=occupancy)
    job.zones_command, job.zones_finish, job.zones_finished = command, finish, finished
    sim.add(job)
    result = sim.run()
    assert not result.jobs[0].error
    assert result.total(2).count == 20
    return result.total(2).mean / 1e3


def test_explicit_open_and_close() -> None:
    """More zones one after the other than may be open at once."""
    assert zone_command(1, 0) == pytest.approx(9.6)
    assert zone_command(1, 0.3) == pytest.approx(9.6)
    assert zone_command(2, 0.3) == pytest.approx(10.7)


def test_finish_pads_what_is_unwritten() -> None:
    """In whole programs of 96 KiB, by 32 dies at once."""
    slow, fast = (zone_command(0, 0.25, finish=True, finish_mib_s=rate) for rate in (500, 1000))
    rounds = -(-int(0.75 * 1077 * 1024) // (32 * 96))
    assert slow - fast == pytest.approx(rounds * 32 * 96 / 1024 / 1000 * 1e6, rel=1e-4)
    assert zone_command(0, 0, finish=True) == pytest.approx(13.5), (
        "an empty zone has nothing to pad"
    )


def test_reset_depends_on_what_is_written_and_how_it_ended() -> None:
    base = zone_command(0, 0, finished=True)
    assert base == pytest.approx(1569)
    half, more = (zone_command(0, part, finished=True) for part in (0.5, 0.75))
    assert more - half == pytest.approx(13_760 / 4, rel=1e-3)
    assert zone_command(0, 0.5) - half == pytest.approx(2590 + 62, rel=1e-3), (
        "open, and not finished"
    )


def one_write(append: bool, kib: int = 4, **changes: Any) -> Any:
    geometry, model = zns(**changes)
    sim = Simulation(geometry, model, 1)
    sim.fill(0, 1, 64 * KIB)
    sim.add(
        Job(
            "w", size=geometry.zone_size, writes=True, zbd=True, append=append, number_ios=1
        ).set_bs(kib * KIB)
    )
    return sim.run().total(1).maximum / 1e3


def test_an_append_takes_longer_than_a_write() -> None:
    assert one_write(True) - one_write(False) == pytest.approx(3.65, abs=0.01)


def test_base_and_cost_of_size() -> None:
    assert one_write(False, 4) == one_write(False, 8) == pytest.approx(11.04)
    assert one_write(False, 16) == pytest.approx(11.04 + 3.61 + 1.31)
    assert one_write(False, 64) - one_write(False, 32) == pytest.approx(4 * 3.61, abs=0.01)
    assert one_write(True, 64) - one_write(True, 32) == pytest.approx(4 * 3.72, abs=0.01)


@pytest.mark.parametrize(("append", "extra"), [(False, 1.8), (True, 3.1)])
def test_the_first_write_opens_the_zone(append: bool, extra: float) -> None:
    geometry, model = zns()
    sim = Simulation(geometry, model, 1)
    sim.add(Job("w", size=geometry.zone_size, writes=True, zbd=True, append=append, number_ios=1))
    assert sim.run().total(1).maximum / 1e3 - one_write(append) == pytest.approx(extra, abs=0.01)


def test_reads_share_dies() -> None:
    """Two reads of one die go one after the other, of two dies side by side."""
    geometry, model = zns(read_service_us=0, read_mib_s=0, die_share=1, page=0)
    times = []
    for distance in (4 * KIB, 128 * KIB):
        sim = Simulation(geometry, model, 1)
        sim.fill(0, 1, MIB)
        array = ffi.new("struct zd_sim_record[]", 2)
        for at, record in enumerate(array):
            record.offset, record.length = at * distance, 4 * KIB
        index = sim.add(Job("t", kind="trace", iodepth=2, size=geometry.zone_size, reads=True))
        sim.feed(index, iter([(array, 2)]))
        times.append(sim.run().now / 1e3)
    assert times[1] == pytest.approx(62.9 + 4 * 2.42, abs=0.1)
    assert times[0] == pytest.approx(2 * times[1], abs=0.1)
