"""What benchmarks in the kernel lab share: the same fio on block devices in turn, in one boot.

What runs there is emulated, so that only ratios mean anything. Each figure is the median over the
rounds; within a round the devices take turns, one directly after the other, and every other round
goes through them backwards. Sequential writes begin with a reset of all zones; reads are of what
was written.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel import lab
from kernel.attaching import bring_packages

ZONE_MIB, ZONES, SPAN_MIB = 4, 32, 96
MIB = ZONE_MIB * ZONES
"""Of each device."""


@dataclass(frozen=True)
class Case:
    """What fio does, and the least that the ratio to each of the others should be, by name."""

    rw: str
    bs: str
    depth: int
    least: Mapping[str, float]

    @property
    def key(self) -> str:
        """``write:4k:1``"""
        return f"{self.rw}:{self.bs}:{self.depth}"


# null_blk, memory backed and zoned, is nullb0. device NAME NODE: one of those that take turns, and
# without a scheduler where it could have one.
BEGIN = f"""
set -eu
modprobe null_blk nr_devices=0
n=/sys/kernel/config/nullb/nullb0; mkdir $n
echo 1 >$n/zoned; echo {ZONE_MIB} >$n/zone_size; echo {MIB} >$n/size
echo 4096 >$n/blocksize; echo 1 >$n/memory_backed; echo 1 >$n/power
cp -a /job/packages /tmp; export PYTHONPATH=/tmp/packages
device() {{
    echo none >/sys/block/$2/queue/scheduler 2>/dev/null || true
    dd if=/dev/zero of=/dev/$2 bs=1M count={SPAN_MIB} oflag=direct status=none
    echo "$1 $2" >>/run/bench.devices
}}
"""

# Behind writes everything is filled again, for the reads of other cases.
RUN = """
set -eu
fill() {
    blkzone reset /dev/$1
    dd if=/dev/zero of=/dev/$1 bs=1M count=%(span)d oflag=direct status=none
}
for round in $(seq %(rounds)d); do
    if [ $((round %% 2)) = 1 ]; then order=cat; else order=tac; fi
    $order /run/bench.devices >/run/bench.turns
    while read -r name node <&3; do
        case %(rw)s in *write) blkzone reset /dev/$node ;; esac
        fio --minimal --name=b --filename=/dev/$node --direct=1 --ioengine=libaio --zonemode=zbd \\
            --rw=%(rw)s --bs=%(bs)s --iodepth=%(depth)d --size=%(span)dM \\
            --time_based --runtime=%(seconds)s | awk -F';' -v d=$name '{ print d, $8 + $49 }'
    done 3</run/bench.turns
done
case %(rw)s in *write) while read -r name node <&3; do fill $node; done 3</run/bench.devices ;; esac
"""


def measure(kernel: lab.Kernel, case: Case, *, rounds: int, seconds: int) -> dict[str, list[float]]:
    """Commands a second of each device, by round."""
    script = RUN % {
        "rounds": rounds,
        "rw": case.rw,
        "bs": case.bs,
        "depth": case.depth,
        "span": SPAN_MIB,
        "seconds": seconds,
    }
    done = kernel.run(script, timeout=3600)
    if done.status:
        raise SystemExit(f"{case.key}: {done.output}")
    found: dict[str, list[float]] = {}
    for line in done.output.splitlines():
        name, value = line.split()
        found.setdefault(name, []).append(float(value))
    return found


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """Options that each of these benchmarks has."""
    parser = argparse.ArgumentParser(description=str(doc).split("\n", 1)[0])
    parser.add_argument("--strict", action="store_true", help="exit 1 if a target is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures for programs too")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name has it")
    parser.add_argument("--rounds", type=int, default=5, help="the median is over these (5)")
    parser.add_argument("--seconds", type=int, default=2, help="of each run of fio (2)")
    return parser


def table(
    options: argparse.Namespace,
    ours: str,
    cases: Sequence[Case],
    begin: str,
    files: Sequence[Path] = (),
) -> int:
    """Boot, ``begin`` (a script behind BEGIN), print a line for each case; what ``main`` returns.

    ``ours`` is the name of the device whose ratios to the others are told. ``files`` are programs
    that the guest finds at /job.
    """
    rows, missed = {}, 0
    with tempfile.TemporaryDirectory() as name, lab.Kernel(Path(name)) as kernel:
        bring_packages(kernel)
        for file in files:
            (kernel.share / file.name).write_bytes(file.read_bytes())
            (kernel.share / file.name).chmod(0o755)
        done = kernel.run(f"PYTHON={lab.python()}\n{BEGIN}\n{begin}", timeout=1800)
        if done.status:
            raise SystemExit(done.output)
        for case in cases:
            if options.only not in case.key:
                continue
            found = measure(kernel, case, rounds=options.rounds, seconds=options.seconds)
            rate = {name: statistics.median(values) for name, values in found.items()}
            rows[case.key] = {"rates": found, "medians": rate}
            others = [name for name in rate if name != ours]
            ratios = {name: rate[ours] / rate[name] for name in others}
            good = all(ratios[name] >= least for name, least in case.least.items())
            missed += not good
            print(
                f"{case.key:16} {ours} {rate[ours]:.0f}/s",
                *(f"  {name} {rate[name]:.0f}/s, ratio {ratios[name]:.2f}" for name in others),
                "" if good else "  below its target",
                sep="",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if options.strict and missed else 0
