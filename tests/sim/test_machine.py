"""The simulator keeps zone words of its own; the device core, given the same commands, says the same."""

from __future__ import annotations

import random
from typing import Any

import pytest

import zoned
from sim.helpers import MIB
from zoned._core.looking import report_rows
from zoned._core.native import ffi, lib
from zoned.bench import Simulation
from zoned.drives import profiles
from zoned.drives.models import null_model
from zoned.report import ROW

COMMANDS = (
    lib.ZD_CMD_WRITE, lib.ZD_CMD_WRITE, lib.ZD_CMD_WRITE, lib.ZD_CMD_APPEND, lib.ZD_CMD_READ,
    lib.ZD_CMD_OPEN, lib.ZD_CMD_CLOSE, lib.ZD_CMD_FINISH, lib.ZD_CMD_RESET,
)  # fmt: skip
ALL = (lib.ZD_CMD_OPEN_ALL, lib.ZD_CMD_CLOSE_ALL, lib.ZD_CMD_FINISH_ALL, lib.ZD_CMD_RESET_ALL)

DISKS: dict[str, dict[str, Any]] = {
    "zbc": {"dialect": "zbc", "max_open": 3, "conventional": 2},
    "zbc with a gap, lowest closes": {
        "dialect": "zbc", "max_open": 2, "conventional": 1, "zone_capacity": 12 * 4096, "implicit_close": "lowest",
    },
    "zbc, no unrestricted reads, 512e": {
        "dialect": "zbc", "max_open": 4, "logical_block": 512, "unrestricted_read": False, "conventional": 0,
    },
    "zns": {"dialect": "zns", "max_open": 3, "max_active": 5, "zone_capacity": 12 * 4096, "conventional": 0, "append_limit": 8192},
    "nullblk, round robin": {
        "dialect": "nullblk", "max_open": 2, "max_active": 4, "conventional": 2, "implicit_close": "round-robin",
    },
    "no limits, short last zone": {"dialect": "zbc", "max_open": 0, "conventional": 1, "size": 11 * 65536 + 4096},
}  # fmt: skip


def one(
    device: zoned.Device, sim: Simulation, command: int, zone: int, offset: int, length: int
) -> tuple[int, int]:
    """The same command to both; their codes."""
    err = ffi.new("struct zd_error *")
    handle = device._handle
    buffer = ffi.new("uint8_t[]", max(length, 1))
    landed = ffi.new("uint64_t *")
    if command == lib.ZD_CMD_WRITE:
        ours = lib.zd_pwrite(handle, buffer, length, offset, err)
    elif command == lib.ZD_CMD_READ:
        ours = lib.zd_pread(handle, buffer, length, offset, err)
    elif command == lib.ZD_CMD_APPEND:
        ours = lib.zd_append(handle, zone, buffer, length, landed, err)
    else:
        ours = lib.zd_zone_mgmt(handle, command, zone, 1, err)
    theirs = lib.zd_sim_apply(sim.owned.raw, command, offset, length, err)
    return min(ours, 0), theirs


def zones_of(
    device: zoned.Device, sim: Simulation
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """start, length, capacity, wp, index, type, condition: what both must agree on."""
    ours, theirs = (
        [(r[0], r[1], r[2], r[3], r[5], r[6], r[7]) for r in ROW.iter_unpack(raw)]
        for raw in (report_rows(device, 0, device.geometry.nr_zones), sim.zones())
    )
    return ours, theirs


@pytest.mark.parametrize("name", DISKS)
@pytest.mark.parametrize("seed", [1, 2])
def test_simulator_and_device_agree(name: str, seed: int) -> None:
    """Thousands of random commands, right and wrong ones: the same code from both, the same zones after each."""
    dice = random.Random(f"{name} {seed}")
    keywords = {"size": 12 * 65536, "zone_size": 65536, "data": "none"} | DISKS[name]
    refused: dict[int, int] = {}
    with zoned.memory(**keywords) as device:
        g = device.geometry
        sim = Simulation(g, null_model())
        for step in range(2500):
            zone = dice.randrange(g.nr_zones)
            row = device.zones[zone]
            command = dice.choice(COMMANDS) if dice.random() < 0.97 else dice.choice(ALL)
            unit = g.logical_block
            length = dice.choice((unit, 4096, 8192, 3 * 4096, row.capacity))
            at = (
                row.wp
                if row.wp is not None and dice.random() < 0.8
                else row.start + dice.randrange(row.length // unit) * unit
            )
            offset = row.start if command >= lib.ZD_CMD_APPEND else at
            # A simulated command stays within its zone: what would cross it is cut, as the engine does.
            length = (
                min(length, row.start + row.length - offset)
                if command in (lib.ZD_CMD_WRITE, lib.ZD_CMD_READ)
                else length
            )
            if command == lib.ZD_CMD_APPEND:
                length = min(length, row.length)
            if command in (lib.ZD_CMD_WRITE, lib.ZD_CMD_READ) and (length == 0 or offset >= g.size):
                continue
            ours, theirs = one(device, sim, command, zone, offset, length)
            assert ours == theirs, (
                step,
                command,
                zone,
                offset,
                length,
                lib.zd_rule_name(ours),
                lib.zd_rule_name(theirs),
            )
            refused[ours] = refused.get(ours, 0) + 1
            if step % 10 == 0 or ours:
                left, right = zones_of(device, sim)
                assert left == right, (step, command, zone)
        left, right = zones_of(device, sim)
        assert left == right
        assert device.limits == sim.limits
    assert len(refused) >= 5, "the commands must meet several rules"
    assert refused[0] > 800


def test_alignment_and_append_limit_are_checked_behind_the_fast_path() -> None:
    """An open zone with room takes the shortest way through the code; what is wrong is refused there too."""
    with zoned.memory(
        size="1MiB",
        zone_size="128KiB",
        conventional=0,
        dialect="zns",
        append_limit=8192,
        data="none",
    ) as device:
        sim = Simulation(device.geometry, null_model())
        for command, offset, length in (
            (lib.ZD_CMD_WRITE, 0, 4096),
            (lib.ZD_CMD_APPEND, 0, 8192),
            (lib.ZD_CMD_APPEND, 0, 12288),
            (lib.ZD_CMD_WRITE, 4096, 4096),
            (lib.ZD_CMD_WRITE, 12288, 4096),
        ):
            ours, theirs = one(device, sim, command, 0, offset, length)
            assert ours == theirs
        assert zones_of(device, sim)[0] == zones_of(device, sim)[1]


def test_a_host_aware_disk_is_refused() -> None:
    with zoned.memory(size=MIB, zone_size="128KiB", model="host-aware") as device:
        with pytest.raises(zoned.GeometryError, match="only host-managed disks are simulated"):
            Simulation(device.geometry, null_model())


def test_a_simulated_disk_of_28_tb_takes_little_memory() -> None:
    """Zones are words, not records: creating the largest profile is quick and small."""
    geometry = profiles.load("hc680").geometry()
    sim = Simulation(geometry, null_model())
    rows = list(ROW.iter_unpack(sim.zones()))
    assert len(rows) == 104_312
    assert rows[0][7] == 0
    assert rows[-1][7] == 1
