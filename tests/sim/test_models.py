"""What the drive models do, apart from the figures they are fitted to (test_published.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import zoned
from sim.helpers import KIB, MIB, SECOND, disk
from zoned.bench import Job, Model, Simulation
from zoned.bench.limits import limiting
from zoned.drives.models import drives, load_drive, load_model, null_model, parse_model
from zoned.drives.profiles import ProfileError, builtin_names
from zoned.geometry import Geometry
from zoned.resolving import resolve

ZONE = 256 * MIB


def hdd_disk(zones: int = 4000) -> Geometry:
    return resolve(
        {}, {"size": zones * ZONE, "zone_size": ZONE, "conventional": zones // 2}, profile="hdd"
    )


def hdd(**changes: Any) -> Model:
    return load_model("hc620").but(**{f"hdd__{name}": value for name, value in changes.items()})


def reads(model: Model, depth: int, zones: int = 2000) -> Any:
    """Random 4 KiB reads over the first zones."""
    sim = Simulation(hdd_disk(), model, 1)
    job = Job(
        "r",
        iodepth=depth,
        size=zones * ZONE,
        reads=True,
        random=True,
        norandommap=True,
        number_ios=2000,
        io_size=2**62,
    )
    sim.add(job.set_bs(4 * KIB))
    return sim.run()


# ----------------------------------------------------------------------------------------- profiles


@pytest.mark.parametrize("name", [*builtin_names(), *drives()])
def test_every_built_in_drive_has_a_model(name: str) -> None:
    profile, model = load_drive(name)
    assert model.kind in ("null", "hdd", "zns", "drive-managed")
    Simulation(profile.geometry(), model)


@pytest.mark.parametrize("name", ["hc620", "hc680", "zn540"])
def test_every_number_of_a_profile_has_its_source(name: str) -> None:
    """A comment on each line, or a statement above that names where all come from."""
    text = (Path(zoned.__file__).parent / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    model = text[text.index("[model]") :]
    lines = [line for line in model.splitlines() if "=" in line and not line.startswith("#")]
    bare = [line for line in lines if "#" not in line and not line.startswith("kind")]
    assert not bare or "see that profile for the sources" in text


def test_a_missing_parameter_is_named(tmp_path: Path) -> None:
    text = (Path(zoned.__file__).parent / "profiles" / "hc620.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("rpm")),
        encoding="utf-8",
    )
    with pytest.raises(ProfileError, match=r"model\.hdd\.rpm is missing: the model hdd needs it"):
        load_drive(path)


GOOD = {"kind": "null", "null": {"command_us": 1}}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({}, "model.kind is None"),
        ({"kind": "floppy"}, "must be one of drive-managed, hdd, null, zns"),
        ({"kind": "null"}, r"needs a table \[model.null\]"),
        (GOOD | {"hdd": {}}, "unknown key model.hdd"),
        (GOOD | {"host_su": 1}, r"unknown key model.host_su \(did you mean host_us\?\)"),
        (GOOD | {"host_us": -1}, "model.host_us is -1"),
        ({"kind": "null", "null": {"command_us": "soon"}}, "must be a number, not 'soon'"),
        ({"kind": "null", "null": {"command_us": 1, "comand_us": 1}}, "did you mean command_us"),
        ({"kind": "null", "null": {"command_us": True}}, "must be a number, not True"),
    ],
)
def test_a_wrong_model_table_says_what_is_wrong(table: dict[str, Any], text: str) -> None:
    with pytest.raises(ProfileError, match=text):
        parse_model(table, "mine")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rate_inner_mb_s": 300}, "the inner one not above the outer"),
        ({"seek_one_ms": 20}, "must not fall"),
        ({"cache_entries": 0}, "cache_entries is 0"),
        ({"queue": 5000}, "hdd.queue must be"),
        ({"rpm": 100_000}, "hdd.rpm is 100000"),
    ],
)
def test_impossible_mechanics_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(zoned.GeometryError, match=text):
        Simulation(hdd_disk(), hdd(**change))


def test_drive_managed_needs_a_disk_without_sequential_zones() -> None:
    with pytest.raises(zoned.GeometryError, match="has no sequential zones, and zone 2000 is one"):
        Simulation(hdd_disk(), load_model("st8000as0002"))


def test_a_profile_without_a_model_is_null(tmp_path: Path) -> None:
    path = tmp_path / "plain.toml"
    path.write_text('[geometry]\nsize = "64MiB"\nzone_size = "4MiB"\n', encoding="utf-8")
    assert load_model(path) == null_model()


# --------------------------------------------------------------------------------------- hard disk


def test_one_random_read_takes_seek_and_half_a_turn() -> None:
    """Depth 1: the mean is the average seek over the span, half a revolution, and the transfer."""
    stats = reads(hdd(seek_one_ms=2, seek_avg_ms=8, seek_full_ms=14), 1).total(0)
    # Half of the disk: pairs are a sixth of all cylinders apart on average; 7200 rpm: 4.17 ms.
    assert 8.5e6 < stats.mean < 12.5e6
    assert stats.percentile(99.5) < 25e6


def test_a_deep_queue_is_served_by_position() -> None:
    """Shortest positioning first: 16 commands under way more than double the rate, first come would not."""
    model = hdd(seek_margin_ms=0)
    one, many = reads(model, 1).total(0), reads(model, 16).total(0)
    assert many.iops > 1.6 * one.iops
    alone = reads(hdd(seek_margin_ms=0, queue=1), 16).total(0)
    assert alone.iops == pytest.approx(one.iops, rel=0.1)


def test_a_margin_costs_a_queue_but_no_command_alone() -> None:
    """A drive that expects seeks to take longer passes over places that it could just have reached."""
    for depth, same in ((1, True), (16, False)):
        exact, careful = (reads(hdd(seek_margin_ms=ms), depth).total(0) for ms in (0, 2))
        assert (exact == careful) is same
    assert 0.5 * exact.iops < careful.iops < 0.8 * exact.iops


def test_faster_rotation_and_shorter_seeks_help() -> None:
    base = reads(hdd(), 1).total(0).iops
    assert reads(hdd(rpm=15000), 1).total(0).iops > 1.15 * base
    assert reads(hdd(seek_one_ms=0.5, seek_avg_ms=3, seek_full_ms=6), 1).total(0).iops > 1.4 * base
    assert reads(hdd(), 1, zones=20).total(0).iops > 1.1 * base, "a shorter span has shorter seeks"


def test_rate_falls_from_the_outer_to_the_inner_edge() -> None:
    rates = []
    for first in (2000, 3996):
        sim = Simulation(hdd_disk(), hdd(zone_switch_ms=0, cache="4MiB", stream="4MiB"))
        sim.add(
            Job("w", iodepth=8, offset=first * ZONE, size=4 * ZONE, writes=True, zbd=True).set_bs(
                MIB
            )
        )
        rates.append(sim.run().total(1).rate / 1e6)
    assert rates[0] == pytest.approx((257.7 + 121.1) / 2, rel=0.02)
    assert rates[1] == pytest.approx(121.1, rel=0.02)


def test_the_cache_takes_writes_until_it_is_full() -> None:
    sim = Simulation(hdd_disk(), hdd())
    sim.add(Job("w", offset=2000 * ZONE, size=ZONE, writes=True, zbd=True).set_bs(MIB))
    result = sim.run()
    assert result.total(1).percentile(1) < 2.1e6, "at first at the interface's rate"
    assert result.total(1).percentile(90) > 4e6, "then at the media's"


def test_without_a_cache_a_write_is_on_the_platter_when_it_is_done() -> None:
    sim = Simulation(hdd_disk(), hdd(cache=0))
    sim.add(
        Job("w", offset=2000 * ZONE, size=ZONE, number_ios=100, writes=True, zbd=True).set_bs(
            64 * KIB
        )
    )
    result = sim.run()
    # One at a time, each misses the platter's turn.
    assert result.total(1).mean == pytest.approx(8.33e6, rel=0.1)
    assert result.drive_managed["media_bytes"] == 100 * 64 * KIB


def one_write(length: int, **changes: Any) -> float:
    """How long it took, in ms."""
    sim = Simulation(hdd_disk(), hdd(**changes).but(host_us=0))
    job = Job("w", offset=2000 * ZONE, size=ZONE, writes=True, zbd=True, number_ios=1)
    sim.add(job.set_bs(length))
    return float(sim.run().total(1).maximum) / 1e6


def test_a_write_longer_than_the_cache_is_done_when_its_rest_is_on_the_platter() -> None:
    for cache, stream in ((8, 8), (64, 8)):
        times = [
            one_write(mib * MIB, cache=f"{cache}MiB", stream=f"{stream}MiB") for mib in (8, 16, 48)
        ]
        assert times[0] == pytest.approx(8 * MIB / 540e3, rel=0.01), "it fits: the interface alone"
        assert times[2] - times[1] == pytest.approx(32 * MIB / 190e3, rel=0.05), "the media's rate"
        assert times[1] > 8 * MIB / 190e3


def test_such_a_write_leaves_everything_in_order() -> None:
    """Behind and before others, of several zones at once; each byte goes to the platter once."""
    sim = Simulation(hdd_disk(), hdd(cache="4MiB", stream="2MiB"))
    for zone in (2000, 2500):
        job = Job("w", iodepth=4, offset=zone * ZONE, size=ZONE, writes=True, zbd=True)
        job.end_fsync = True
        job.split[1] = [(16 * KIB, 40), (MIB, 30), (16 * MIB, 30)]
        sim.add(job)
    result = sim.run()
    assert not any(job.error for job in result.jobs)
    assert result.total(1).bytes == result.drive_managed["media_bytes"] == 2 * ZONE


@pytest.mark.parametrize("random", [False, True])
def test_filling_a_zone_costs_wherever_the_stream_goes_on(random: bool) -> None:
    times = []
    for cost in (0, 58.1):
        sim = Simulation(hdd_disk(), hdd(zone_switch_ms=cost))
        job = Job("w", offset=2000 * ZONE, size=40 * ZONE, io_size=3 * ZONE, writes=True, zbd=True)
        job.random, job.sequence, job.norandommap, job.end_fsync = random, 256, True, True
        sim.add(job.set_bs(MIB))
        times.append(sim.run().now)
    assert times[1] - times[0] == pytest.approx(3 * 58.1e6, rel=0.1)


def test_sequential_reads_are_read_ahead() -> None:
    sim = Simulation(hdd_disk(), hdd(zone_switch_ms=0))
    sim.add(Job("r", size=ZONE, reads=True).set_bs(16 * KIB))
    assert sim.run().total(0).rate / 1e6 > 225
    sim = Simulation(hdd_disk(), hdd(zone_switch_ms=0, readahead=0))
    sim.add(Job("r", size=ZONE, number_ios=500, reads=True).set_bs(16 * KIB))
    assert sim.run().total(0).rate / 1e6 < 5, "every command waits for a whole turn"


def test_reading_what_was_just_written_comes_from_the_cache() -> None:
    sim = Simulation(hdd_disk(), hdd())
    sim.add(
        Job(
            "w", offset=2000 * ZONE, size=ZONE, io_size=8 * MIB, writes=True, zbd=True, verify=True
        ).set_bs(MIB)
    )
    result = sim.run()
    assert result.total(0).minimum < 3e6


def test_zone_commands_cost_what_the_profile_says() -> None:
    sim = Simulation(hdd_disk(), hdd(reset_ms=7))
    sim.add(
        Job("z", kind="zones", offset=2000 * ZONE, size=100 * ZONE, zones_count=10, occupancy=0.5)
    )
    assert sim.run().total(2).mean == pytest.approx(7.03e6, rel=0.01)


# --------------------------------------------------------------------------------------------- ZNS


def zns(**changes: Any) -> tuple[Geometry, Model]:
    profile, model = load_drive("zn540")
    return profile.geometry(), model.but(
        merge=0, **{f"zns__{name}": value for name, value in changes.items()}
    )


def zns_writes(depth: int, kib: int, append: bool, zones: int = 1, **changes: Any) -> Any:
    geometry, model = zns(**changes)
    sim = Simulation(geometry, model, 1)
    for at in range(zones):
        job = Job(
            "w",
            iodepth=depth,
            offset=at * 4 * geometry.zone_size,
            size=4 * geometry.zone_size,
            writes=True,
            zbd=True,
            append=append,
        )
        job.runtime, job.time_based = SECOND // 5, True
        sim.add(job.set_bs(kib * KIB))
    return sim.run()


def test_writes_to_one_zone_gain_nothing_from_depth_and_appends_do() -> None:
    assert zns_writes(8, 4, append=False).total(1).iops == pytest.approx(
        zns_writes(1, 4, append=False).total(1).iops, rel=0.05
    )
    assert (
        zns_writes(8, 4, append=True).total(1).iops
        > 1.8 * zns_writes(1, 4, append=True).total(1).iops
    )


def test_the_flash_rate_is_a_ceiling_for_all_zones_together() -> None:
    for zones in (1, 4, 14):
        assert zns_writes(1, 128, append=False, zones=zones).total(1).rate / MIB == pytest.approx(
            1166, rel=0.02
        )
    run = zns_writes(1, 128, append=False, zones=14)
    assert limiting(run).startswith("The flash's write rate")


def test_the_controller_is_a_ceiling_for_small_commands() -> None:
    assert zns_writes(1, 4, append=False, zones=14).total(1).iops == pytest.approx(
        1e6 / 5.47, rel=0.03
    )
    assert limiting(zns_writes(64, 4, append=True)).startswith("The controller")


def test_first_write_into_an_empty_zone_costs_more() -> None:
    geometry, model = zns()
    sim = Simulation(geometry, model, 1)
    sim.add(Job("w", size=geometry.zone_size, writes=True, zbd=True, number_ios=2))
    stats = sim.run().total(1)
    assert stats.maximum - stats.minimum == 1800


def test_writes_disturb_reads() -> None:
    geometry, model = zns()
    means = []
    for rate in (0, 1):
        sim = Simulation(geometry, model, 1)
        sim.fill(0, 4, geometry.zone_capacity)
        reader = Job(
            "r",
            iodepth=4,
            size=4 * geometry.zone_size,
            reads=True,
            random=True,
            zbd=True,
            norandommap=True,
        )
        reader.runtime, reader.time_based = SECOND // 5, True
        sim.add(reader)
        if rate:
            writer = Job(
                "w",
                iodepth=4,
                offset=8 * geometry.zone_size,
                size=4 * geometry.zone_size,
                writes=True,
                zbd=True,
            )
            writer.runtime, writer.time_based = SECOND // 5, True
            sim.add(writer.set_bs(128 * KIB))
        means.append(sim.run().total(0).mean)
    assert means[1] > 1.5 * means[0]


# ----------------------------------------------------------------------------------- drive-managed


def dm(**changes: Any) -> Simulation:
    profile, model = load_drive("st8000as0002")
    return Simulation(
        profile.geometry(), model.but(**{f"dm__{k}": v for k, v in changes.items()}), 1
    )


def random_writes(size: int, number: int, **more: Any) -> Job:
    """So many random writes within the first bytes."""
    kind = {"writes": True, "random": True, "norandommap": True, "io_size": 2**62}
    return Job("w", size=size, number_ios=number, **kind, **more)


def test_drive_managed_is_fast_until_the_map_is_full() -> None:
    sim = dm(map_entries=2000, idle_ms=0)
    sim.add(random_writes(sim.geometry.size, 3600))
    result = sim.run()
    done = result.drive_managed
    assert done["full_entries"] == 2000
    before = 2000 / done["full_at"]
    after = (done["into_cache"] - 2000) / (result.now - done["full_at"])
    assert before > 100 * after
    assert done["bands_cleaned"] > 300
    assert limiting(result).startswith("Cleaning of bands")


def test_drive_managed_collapses_less_on_a_small_span() -> None:
    """More entries share a band, so each cleaning frees more."""
    rates = []
    for span in (64 * 1024 * MIB, 4 * 1024 * MIB):
        sim = dm(map_entries=2000, idle_ms=0)
        sim.add(random_writes(span, 6000))
        result = sim.run()
        rates.append(
            (result.drive_managed["into_cache"] - 2000)
            / (result.now - result.drive_managed["full_at"])
        )
    assert rates[1] > 5 * rates[0]


def test_drive_managed_streams_go_past_the_cache() -> None:
    sim = dm()
    sim.add(Job("w", iodepth=4, size=4 * 1024 * MIB, writes=True).set_bs(MIB))
    result = sim.run()
    assert result.drive_managed["past_cache"] > 4000
    assert result.drive_managed["into_cache"] == 0
    assert result.total(1).rate / 1e6 == pytest.approx(190, rel=0.05)


def test_drive_managed_cleans_when_idle() -> None:
    sim = dm(idle_ms=1500)
    sim.add(random_writes(sim.geometry.size, 20, thinktime=10 * SECOND))
    assert sim.run().drive_managed["bands_cleaned"] >= 15


def test_drive_managed_cache_smaller_than_a_band_of_writes() -> None:
    """The media cache counts bytes too, not only entries."""
    sim = dm(media_cache="128MiB", idle_ms=0)
    sim.add(random_writes(sim.geometry.size, 400).set_bs(MIB))
    result = sim.run()
    assert 100 <= result.drive_managed["full_entries"] <= 128 + 130
    assert result.drive_managed["bands_cleaned"] > 50


# -------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("pattern", "begin"),
    [
        ("stream", "The media's data rate"),
        ("random-zones", "The head's way to the data"),
        ("append-depth", "The controller"),
        ("zone-commands", "Zone commands"),
        ("drive-managed", "Cleaning of bands"),
    ],
)
def test_what_limited_a_pattern(pattern: str, begin: str) -> None:
    from zoned.bench.patterns import find
    from zoned.bench.runner import execute

    settings = {
        "append-depth": {"depths": "64", "seconds": "0.1"},
        "drive-managed": {"writes": "252000"},
    }
    chosen = find(pattern)
    profile, model = load_drive(chosen.profile)
    geometry = profile.geometry()
    result = execute(chosen.plan(geometry, settings.get(pattern, {})), geometry, model, 1)
    assert limiting(result).startswith(begin)


def test_null_limits_nothing() -> None:
    sim = Simulation(disk(), null_model())
    sim.add(Job("w", offset=8 * MIB, size=8 * MIB, writes=True, zbd=True))
    assert limiting(sim.run()).startswith("Nothing: the model null")
