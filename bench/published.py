"""Published figures of real drives, each with its source: what bench/validate.py compares with.

Nothing here is a parameter of a model; zoned.bench.fit makes parameters from these figures.
"""

from __future__ import annotations

import re

from zoned.bench.fit import Point

STONET = "Doekemeijer et al., CLUSTER 2023, raw data, spdk/zns-a/lbaf2"
STATES = "Doekemeijer et al., CLUSTER 2023, raw data, custom/zns-a"
FIO = "zonedstorage.io, fio examples for SMR hard-disks (HSH721415AL, fio 3.13)"
UNLIMITED = f"{FIO}, which kept to no limit of open zones: ignore_zone_limits=1"
"""The page's own command line gives its figure with it: fio 3.33 keeps to the drive's 128 zones."""
ZBC = "zonedstorage.io, libzbc: zbc_write_zone (HSH721415AL)"
BLOCK = 1 / 275712  # of a zone's capacity


def zn540() -> list[Point]:
    """WD Ultrastar DC ZN540 1 TB."""
    points = []
    # KiB, then of write and of append: mean latency, median latency (clat median and slat mean) in
    # us; MiB/s over 180 s
    rows = (
        (4, (11.357, 11.22, 0.0), (14.834, 14.70, 0.0)),
        (8, (11.243, 11.04, 0.0), (14.018, 13.86, 0.0)),
        (16, (16.251, 15.96, 0.0), (20.113, 19.86, 0.0)),
        (32, (26.417, 22.97, 1145.0), (27.912, 27.12, 0.0)),
        (64, (53.230, 37.92, 1142.9), (53.123, 42.03, 1146.2)),
        (128, (106.547, 66.50, 1146.3), (106.669, 72.07, 1144.6)),
    )
    for at, what in enumerate(("write", "append")):
        for kib, *figures in rows:
            mean, median, rate = figures[at]
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


RATE = "the same raw data, custom/zns-a/rate_inteference/zns_*"
RATIO = "the same raw data, inteference/mixratio/spdk_*"
RESETS = "the same raw data, custom/zns-a/inteference"
SEQUENTIAL = "the same raw data, spdk/zns-a/lbaf0/read"
QUEUED = "the same raw data, io_uring/zns-a/lbaf2/writemq (mq-deadline)"


def _table(text: str) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Of each line, what was set in two columns, and the figures in three."""
    rows = (line.split() for line in text.strip().splitlines())
    return {(int(a), int(b)): (float(x), float(y), float(z)) for a, b, x, y, z in rows}


BESIDE = _table(
    """
      10   1   13.43    89    10
      10   8   96.86   167    10
      10  16  166.81   268    10
      10  32  246.72   987    10
      10  64  329.67  2114    10
      50   1   12.69   218    50
      50   8   89.83   334    50
      50  16  144.18   700    50
      50  32  193.06  1647    50
      50  64  248.72  2540    50
     100   1   11.87   247   100
     100   8   83.00   399   100
     100  16  130.57   750   100
     100  32  170.16  1614   100
     100  64  212.92  2441   100
     250   1    9.91   317   250
     250   8   69.01   449   250
     250  16  109.23   717   250
     250  32  142.54  1434   250
     250  64  173.74  2212   250
     500   1    7.74   379   500
     500   8   55.05   481   500
     500  16   89.64   684   500
     500  32  123.12  1171   500
     500  64  150.72  2007   500
    1000   1    5.33   412  1000
    1000   8   40.59   528   963
    1000  16   75.90   668   796
    1000  32  119.46  1122   616
    1000  64  149.44  2040   516
    """
)
"""128 KiB writes at so many MiB/s, depth 1, beside random 4 KiB reads of this depth, 400 zones
each: reads in K/s, their p99 in us, what was written in MiB/s.
"""
TWO_ZONES = 107.1  # appends of 4 KiB by two jobs of depth 1 with a zone each, K/s
MIXED = _table(
    """
    99   4   52.7   134   17.5
    99  16  172.0   241   19.8
    99  64  324.2  2146   26.2
    95   4   52.6   140   17.5
    95  16  157.5   569   20.0
    95  64  258.6  2540   25.5
    90   4   52.2   173   17.6
    90  16  148.1   659   20.5
    90  64  228.6  2441   26.7
    75   4   47.9   243   18.2
    75  16  124.2   668   23.0
    75  64  181.4  2146   38.1
    50   4   37.2   326   18.8
    50  16   88.7   602   33.2
    50  64  105.1  1036  238.5
    """
)
"""randrw of 4 KiB by appends over the whole drive, so many percent reads, at this depth: reads in
K/s, their p99 in us, mean latency of an append in us.
"""
WRITES = {
    # KiB, zones at once, depth, append: mean latency in us, p99 in us
    (8, 2, 1, False): (13.2, 0),
    (8, 4, 1, False): (26.4, 102.9),
    (16, 2, 1, False): (26.7, 115.2),
    (16, 4, 1, False): (53.3, 257.0),
    (32, 1, 1, False): (26.4, 84.5),
    (32, 4, 1, False): (107.2, 469.0),
    (64, 1, 1, False): (53.2, 297.0),
    (64, 4, 1, False): (214.8, 815.1),
    (128, 1, 1, False): (106.5, 626.7),
    (128, 4, 1, False): (430.8, 1269.8),
    (128, 8, 1, False): (862.7, 1974.3),
    (8, 1, 4, True): (26.4, 104),
    (16, 1, 2, True): (26.4, 106),
    (16, 1, 8, True): (106.8, 684),
    (64, 1, 4, True): (213.5, 1012),
    (64, 1, 16, True): (855.8, 1876),
    (64, 1, 64, True): (3413.1, 5865),
}
READS = {
    # KiB, depth: random reads in K/s
    (8, 1): 11.83, (8, 8): 83.32, (8, 32): 221.1, (8, 128): 295.0,
    (16, 1): 9.81, (16, 8): 66.77, (16, 16): 111.8, (16, 64): 160.4,
}  # fmt: skip
STREAMS = {
    # KiB, depth, zones read in turns by one job each: sequential reads in K/s
    (4, 1, 1): 127.1, (8, 1, 1): 102.4, (16, 1, 1): 75.42, (32, 1, 1): 53.87, (64, 1, 1): 34.22,
    (128, 1, 1): 18.72, (4, 2, 1): 230.2, (4, 4, 1): 394.3, (4, 8, 1): 409.6, (16, 2, 1): 144.3,
    (16, 4, 1): 182.9, (128, 2, 1): 21.21, (128, 4, 1): 19.73, (128, 16, 1): 25.00,
    (4, 1, 2): 51.29, (4, 2, 2): 62.21, (16, 1, 2): 18.98, (128, 1, 2): 5.57, (128, 2, 2): 10.34,
}  # fmt: skip
MERGED = {
    # KiB, depth: writes of one zone through io_uring and mq-deadline in K/s
    (4, 1): 67.0, (4, 2): 75.8, (4, 4): 106.5, (4, 8): 152.1, (4, 16): 224.3, (4, 32): 293.3,
    (4, 64): 293.3, (8, 8): 136.2, (8, 16): 146.8, (16, 4): 68.7, (16, 8): 73.4, (32, 2): 34.8,
    (32, 4): 36.7,
}  # fmt: skip


def zn540_shared() -> list[Point]:
    """The same drive, several things at once. ``what``: the experiment and what sets it apart."""
    points = []
    for (rate, x), (kiops, p99, written) in BESIDE.items():
        what, name = f"beside {rate}", f"4 KiB reads, depth {x}, beside {rate} MiB/s"
        points.append(Point(what, x, "kiops", kiops, f"{name}, K/s", RATE, 0.10))
        points.append(Point(what, x, "p99", p99, f"{name}, p99, us", RATE, 0.20))
        if written != rate:
            text = f"writes of {rate} MiB/s beside reads, depth {x}, MiB/s"
            points.append(Point(what, x, "mib_s", written, text, RATE, 0.10))
    for (percent, x), (kiops, p99, append) in MIXED.items():
        what, name = f"mixed {percent}", f"{percent} % reads, the rest appends, depth {x}"
        points.append(Point(what, x, "kiops", kiops, f"{name}, reads, K/s", RATIO, 0.10))
        points.append(Point(what, x, "p99", p99, f"{name}, reads, p99, us", RATIO, 0.20))
        points.append(Point(what, x, "append", append, f"{name}, append, us", RATIO, 0.10))
    for (kib, zones, depth, append), (mean, p99) in WRITES.items():
        verb = "append" if append else "write"
        what = f"{verb} {kib} {zones}"
        name = f"{verb} {kib} KiB, {zones} zones, depth {depth}"
        points.append(Point(what, depth, "mean", mean, f"{name}, mean, us", STONET, 0.10))
        if p99:
            points.append(Point(what, depth, "p99w", p99, f"{name}, p99, us", STONET, 0.20))
    points.append(Point("append 4 2", 1, "kiops", TWO_ZONES, "append 4 KiB, 2 zones, depth 1, K/s",
                        STONET, 0.10))  # fmt: skip
    for (kib, depth), kiops in READS.items():
        name = f"random read {kib} KiB, depth {depth}, K/s"
        points.append(Point(f"random {kib}", depth, "kiops", kiops, name, STONET, 0.10,
                            only=(kib, depth) in ((16, 1), (16, 64))))  # fmt: skip
    for (kib, depth, zones), kiops in STREAMS.items():
        name = f"sequential read {kib} KiB, depth {depth}, {zones} zones, K/s"
        # Base and slope, the ceilings of controller and link, the page and the stripe.
        made = ((4, 1, 1), (16, 1, 1), (128, 1, 1), (4, 8, 1), (128, 16, 1), (128, 1, 2), (4, 1, 2))
        points.append(Point(f"stream {kib} {zones}", depth, "kiops", kiops, name, SEQUENTIAL, 0.10,
                            only=(kib, depth, zones) in made))  # fmt: skip
    for (kib, depth), kiops in MERGED.items():
        name = f"queued write {kib} KiB, 1 zone, depth {depth}, K/s"
        points.append(Point(f"merged {kib}", depth, "kiops", kiops, name, QUEUED, 0.10))
    points.append(Point("reset", 0, "ms", 32.0, "RESET beside 4 KiB writes, median, ms",
                        RESETS, 0.10, only=True))  # fmt: skip
    points.append(
        Point("reset", 1, "ms", 17.2, "RESET beside 4 KiB appends, median, ms",
              RESETS, 0.10))  # fmt: skip
    points.append(Point("reset", 2, "ms", 15.08, "RESET beside 4 KiB reads, median, ms",
                        RESETS, 0.10))  # fmt: skip
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
        Point("random write", 0, "iops", 160.9, "random write, 4 jobs of depth 4, IOPS", UNLIMITED,
              0.10),
        Point("random write latency", 0, "ms", 98.9, "its mean latency, ms", UNLIMITED, 0.15,
              fitted=False),
        Point("random write", 1, "commands", 270, "commands of its first half second", UNLIMITED),
        Point("streams", 0, "mib_s", 142.8, "4 streams of 512 KiB, MiB/s", FIO, 0.10, fitted=False),
        Point("streams", 0, "mean_ms", 12.74, "their mean latency, ms", FIO, 0.10, fitted=False),
        Point("streams", 0, "median_ms", 3.884, "their median latency, ms", FIO, 0.10,
              fitted=False),
        Point("locked", 0, "under way", 3.19, "8 jobs on 4 zones, 64 KiB: under way at once", FIO,
              0.10, fitted=False),
        Point("locked", 0, "iops", 2007, "8 jobs on 4 zones, 64 KiB, IOPS", FIO, 0.10,
              fitted=False),
        Point("locked", 0, "mean_ms", 1.59, "mean latency of the 8, ms", FIO, 0.10, fitted=False),
        Point("zone", 0, "mib_s", 247.952 / 1.048576, "one zone in 512 KiB, depth 1, MiB/s", ZBC,
              0.10, fitted=False),
        Point("uncached", 0, "mean_ms", 60e3 / 7200 + 0.36, "64 KiB, no write cache, ms (derived)",
              "a turn of 7200 rpm and the media's time", 0.10, fitted=False),
        Point("beyond", 0, "iops", 1411, "read beyond the write pointer, IOPS", FIO, only=True),
    ]  # fmt: skip


UNQUEUED = (
    "io_uring's and the block layer's own time, 3 us a command and more at small depths, is not in "
    "the model: it shows until the flash is the limit"
)
APPENDS = "how long an append waits for the reads before it in the controller"
PILE = (
    "reads pile up at a die that programs; how long the pile is comes out, how often a read is in "
    "it does not"
)
BUNCHES = (
    "small commands come in at the end of one die's program; the drive spreads its programs more "
    "evenly than the model"
)
AHEAD = "the drive loses its stream where several large commands come at once; the model does not"

MISSES = (
    # pattern of the name, why ours is off
    (r"queued write 4 KiB, 1 zone, depth (1|2|4|8|16),", UNQUEUED),
    (r"% reads, the rest appends, .*append, us", APPENDS),
    (r"(beside|% reads).*p99", PILE),
    (r"writes of 1000 MiB/s beside reads", "how programs and piles of reads share a die's time"),
    (r"4 KiB reads, depth 64, beside (50|100|250) MiB/s, K/s", PILE),
    (r"^(write|append) .*p99", BUNCHES),
    (r"append 8 KiB, 1 zones, depth 4",
     "an append of 8 KiB keeps the controller shorter than one of 4; the model has one time"),
    (r"random read (8|16) KiB", "the channels' limit shows earlier than as one ceiling for all"),
    (r"sequential read (16|128) KiB, depth (2|4), 1 zones", AHEAD),
    (r"RESET .* appends", "the drive lets appends go on for part of the erase"),
    (r"8 jobs on 4 zones, 64 KiB, IOPS",
     ("by SG_IO the drive took 0.43 ms for each 64 KiB whatever its place, four times what the "
      "interface needs; no other run of the page shows that")),
    (r"mean latency of the 8, ms", "the same run, with as many under way"),
)  # fmt: skip


def reason(name: str) -> str:
    """Why ours is off, where a row is known to miss its limit; else nothing."""
    return next((why for pattern, why in MISSES if re.search(pattern, name)), "")


def _occupancy(x: float) -> str:
    if x in (0, 1):
        return "nothing" if x == 0 else "all"
    if x == BLOCK:
        return "1 block"
    return "all but 1 block" if x > 0.99 else f"{100 * x:.4g} %"
