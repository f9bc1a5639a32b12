"""Published figures of real drives, each with its source: what bench/validate.py compares with.

Nothing here is a parameter of a model; zoned.bench.fit makes parameters from these figures.
"""

from __future__ import annotations

from zoned.bench.fit import Point

STONET = "Doekemeijer et al., CLUSTER 2023, raw data, spdk/zns-a/lbaf2"
STATES = "Doekemeijer et al., CLUSTER 2023, raw data, custom/zns-a"
FIO = "zonedstorage.io, fio examples for SMR hard-disks (HSH721415AL, fio 3.13)"
BLOCK = 1 / 275712  # of a zone's capacity


def zn540() -> list[Point]:
    """WD Ultrastar DC ZN540 1 TB."""
    points = []
    for what, rows in (
        # KiB: mean latency, median latency (clat median and slat mean) in us; MiB/s over 180 s
        (
            "write",
            {
                4: (11.357, 11.22, 0.0),
                8: (11.243, 11.04, 0.0),
                16: (16.251, 15.96, 0.0),
                32: (26.417, 22.97, 1145.0),
                64: (53.230, 37.92, 1142.9),
                128: (106.547, 66.50, 1146.3),
            },
        ),
        (
            "append",
            {
                4: (14.834, 14.70, 0.0),
                8: (14.018, 13.86, 0.0),
                16: (20.113, 19.86, 0.0),
                32: (27.912, 27.12, 0.0),
                64: (53.123, 42.03, 1146.2),
                128: (106.669, 72.07, 1144.6),
            },
        ),
    ):
        for kib, (mean, median, rate) in rows.items():
            name = f"{what} {kib} KiB"
            held = rate > 0
            points.append(
                Point(what, kib, "mean_us", mean, f"{name}, mean latency, us", STONET, 0.05, held)
            )
            if median:
                points.append(
                    Point(what, kib, "median_us", median, f"{name}, median latency, us", STONET,
                          0.0, held)
                )  # fmt: skip
            if held:
                points.append(
                    Point(what, kib, "mib_s", rate, f"{name}, bandwidth, MiB/s", STONET, 0.02, held)
                )
    return [*points, *_ceilings(), *_states()]


def _ceilings() -> list[Point]:
    points = []
    for zones, rate in ((1, 85.1), (2, 142), (4, 180), (8, 186), (14, 182)):
        held = zones >= 4
        points.append(
            Point("write zones", zones, "kiops", rate, f"write 4 KiB, {zones} zones, K/s", STONET,
                  0.05 if held else 0, held, fitted=held)
        )  # fmt: skip
    for depth, rate in ((1, 65.7), (2, 112), (4, 132), (8, 132), (16, 132), (64, 132)):
        held = depth >= 4
        points.append(
            Point("append depth", depth, "kiops", rate, f"append 4 KiB, depth {depth}, K/s", STONET,
                  0.05 if held else 0, held, fitted=held)
        )  # fmt: skip
    for depth, rate in (
        (1, 13.7), (2, 27.0), (4, 52.4), (8, 98.6), (16, 174), (32, 274), (64, 365), (128, 424),
        (256, 437),
    ):  # fmt: skip
        points.append(
            Point("read depth", depth, "kiops", rate, f"random read 4 KiB, depth {depth}, K/s",
                  STONET, 0, fitted=False)
        )  # fmt: skip
    return points


def _states() -> list[Point]:
    points = []
    for x, ms in (
        (0, 0.0135), (BLOCK, 908.3), (1 / 16, 848.0), (1 / 4, 680.7), (1 / 2, 456.7),
        (1 - BLOCK, 2.57),
    ):  # fmt: skip
        points.append(
            Point("finish", x, "ms", ms, f"finish, {_occupancy(x)} written, ms", STATES, 0.04,
                  only=x in (0, 1 - BLOCK))
        )  # fmt: skip
    for what, values in (
        (
            "reset finished",
            ((0, 1.57), (BLOCK, 1.63), (1 / 16, 2.49), (1 / 4, 5.02), (1 / 2, 8.57), (1, 15.34)),
        ),
        ("reset", ((0, 1.63), (BLOCK, 1.69), (1 / 16, 5.12), (1 / 4, 7.75), (1, 15.49))),
    ):
        for x, ms in values:
            points.append(
                Point(what, x, "ms", ms, f"{what}, {_occupancy(x)} written, ms", STATES, 0.04)
            )
    return points


def hc620() -> list[Point]:
    """WD Ultrastar DC HC620 15 TB, 256 KiB commands unless said otherwise."""
    return [
        Point("sequential write", 1, "mib_s", 234.6, "sequential write, depth 8, MiB/s", FIO, 0.03),
        Point("sequential write", 2, "mib_s", 237.3, "the same over full zones, MiB/s", FIO, 0.03),
        Point("sequential read", 1, "mib_s", 237.9, "sequential read, depth 8, MiB/s", FIO, 0.03),
        Point("sequential write", 1, "median_ms", 8.225, "sequential write, median, ms", FIO),
        Point("sequential write", 2, "median_ms", 8.225, "the same over full zones, ms", FIO),
        Point("sequential read", 1, "median_ms", 8.356, "sequential read, median, ms", FIO),
        Point("random read", 0, "iops", 118.6, "random read, 4 jobs of depth 4, IOPS", FIO, 0.10),
        Point("random read latency", 0, "ms", 133.9, "its mean latency, ms", FIO, 0.15,
              fitted=False),
        Point("random read", 1, "iops", 215.0, "the same within 140 GB, IOPS", FIO),
        Point("random read latency", 1, "ms", 74.3, "its mean latency, ms", FIO, fitted=False),
        Point("random write", 0, "iops", 160.9, "random write, 4 jobs of depth 4, IOPS", FIO, 0.10),
        Point("random write latency", 0, "ms", 98.9, "its mean latency, ms", FIO, 0.15,
              fitted=False),
        Point("random write", 1, "commands", 270, "commands of its first half second", FIO),
        Point("streams", 0, "mib_s", 142.8, "4 streams of 512 KiB, MiB/s", FIO, fitted=False),
        Point("beyond", 0, "iops", 1411, "read beyond the write pointer, IOPS", FIO, only=True),
    ]  # fmt: skip


def _occupancy(x: float) -> str:
    if x in (0, 1):
        return "nothing" if x == 0 else "all"
    if x == BLOCK:
        return "1 block"
    return "all but 1 block" if x > 0.99 else f"{100 * x:.4g} %"
