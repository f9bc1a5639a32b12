"""What led to a failure, in lines: commands, marks, the zones before the cut and after it, what the
verifier said.
"""

from __future__ import annotations

from zoned.crash.checker import zone_lines
from zoned.crash.judging import cut_lines, zones_lines
from zoned.crashtest.running import CrashTest
from zoned.crashtest.shrinking import Small
from zoned.units import counted

_SHOWN = 30


def story(test: CrashTest, small: Small, replay: str) -> list[str]:
    """The lines. ``replay`` is the command that repeats it."""
    history = test.history
    told = history.acknowledged(small.point)
    device, _state = test.rebuild(small.id)
    with device:
        after = zone_lines(device)
    lines = [
        f"The verifier {small.outcome.told} on a disk that a power cut could leave.",
        *cut_lines(history, small.point, len(told)),
    ]
    if "/" in small.id:
        lines.append("Then it was cut during the verifier's own work.")
    elif small.survived:
        lines.append(f"Of what was not durable there survived {counted(small.survived, 'block')}.")
    else:
        lines.append("Nothing survived of what was not durable.")
    lines += zones_lines(history, small.point, after)
    if small.outcome.output.strip():
        said = small.outcome.output.strip().splitlines()[-_SHOWN:]
        lines += ["The verifier said:", *(f"  {line}" for line in said)]
    return [*lines, f"To repeat it: {replay}"]
