"""Signals in the middle of a long C call: Ctrl-C comes through, handlers run, the disk stays whole.

Each case runs in a process of its own, which sends itself real signals at a moment when the call is
known to be under way: another thread (or process) watches the disk for that.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMON = """
import os, signal, sys, threading, time, zoned
COUNT = 1 << 20
def big():
    return zoned.memory(size=COUNT * 4096, zone_size=4096, conventional=0, max_open=0, data="none")
def when_full(dev, zone, act):
    def watch():
        while dev.zones[zone].condition.name != "FULL":
            pass
        act()
    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread
"""


def run(code: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", COMMON + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_ctrl_c_ends_a_long_zone_command() -> None:
    out = run("""
dev = big()
when_full(dev, 1000, lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    dev.finish_zone(0, COUNT)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
full = len(dev.report(condition="full"))
print(1000 < full < COUNT, dev._inside)
print(all(zone.condition.name == "FULL" for zone in dev.zones[full - 10 : full]),
      dev.zones[full].condition.name)
dev.reset_all()
print(len(dev.report(condition="empty")) == COUNT)
dev.close()
""")
    assert out == ["interrupted", "True 0", "True EMPTY", "True"]


def told_amid_a_call(handler: str, caught: str) -> list[str]:
    """What is printed where SIGUSR1 comes amid a long command: by its handler, and by what catches."""
    return run(f"""
class Stop(Exception):
    pass
dev = big()
def handler(number, frame):
    {handler}
signal.signal(signal.SIGUSR1, handler)
when_full(dev, 1000, lambda: os.kill(os.getpid(), signal.SIGUSR1))
try:
    dev.finish_zone(0, COUNT)
except {caught}
dev.pread(4096, 0)
dev.close()
""")


def test_an_exception_of_any_handler_comes_through() -> None:
    out = told_amid_a_call(
        "raise Stop(number)",
        'Stop as exc: print("stopped by", signal.Signals(exc.args[0]).name)',
    )
    assert out == ["stopped by SIGUSR1"]


def test_a_handler_that_returns_lets_the_call_go_on() -> None:
    out = run("""
seen = []
signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
dev = big()
when_full(dev, 1000, lambda: os.kill(os.getpid(), signal.SIGALRM))
dev.finish_zone(0, COUNT)
print(len(dev.report(condition="full")) == COUNT, len(seen))
dev.close()
""")
    assert out == ["True 1"]


def test_a_handler_cannot_use_the_device_in_the_middle_of_a_call() -> None:
    """The call under way may hold the zone's lock: an error is right, a deadlock would not be."""
    out = told_amid_a_call("dev.pread(4096, 0)", "RuntimeError as exc: print(exc)")
    assert out == [
        "a signal handler cannot use a device while a call on it is under way in its thread"
    ]


def test_a_handler_that_closes_the_device() -> None:
    """close() from a handler waits for nobody: the call ends first, then the device is closed."""
    out = run("""
def handler(number, frame):
    dev.close()
    print("handler returned", dev.closed)
signal.signal(signal.SIGUSR1, handler)
dev = big()
when_full(dev, 1000, lambda: os.kill(os.getpid(), signal.SIGUSR1))
dev.finish_zone(0, COUNT)
print("call returned", dev.closed)
try:
    dev.pread(4096, 0)
except ValueError as exc:
    print(exc)
""")
    assert out == ["handler returned True", "call returned True", "the device is closed"]


def test_ctrl_c_ends_a_wait_for_a_lock(tmp_path: Path) -> None:
    """A data call that waits for a zone's lock, whose holder is stopped, ends on Ctrl-C."""
    path = tmp_path / "disk.img"
    out = run(
        """
import subprocess
path = sys.argv[1]
dev = zoned.create(path, size="512MiB", zone_size="64MiB")
child = subprocess.Popen([sys.executable, "-c", '''
import sys, zoned
dev = zoned.open(sys.argv[1])
data = bytes(32 << 20)
print("go", flush=True)
while True:
    dev.append(3, data)
    dev.reset_zone(3)
''', path], stdout=subprocess.PIPE)
child.stdout.readline()
start = dev.zones[3].start
outcome = "never blocked"
for attempt in range(200):
    time.sleep(0.002 * (attempt % 7))
    os.kill(child.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        dev.pwrite(bytes(4096), start + 4096)
    except zoned.ZonedError:
        pass
    except KeyboardInterrupt:
        outcome = "interrupted"
        break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.kill(child.pid, signal.SIGCONT)
child.kill()
child.wait()
child.stdout.close()
print(outcome)
print(dev.zones[3].condition.name in ("EMPTY", "IMPLICIT_OPEN"))
dev.reset_zone(3)
dev.append(3, bytes(4096))
dev.close()
print(zoned.check(path))
""",
        str(path),
    )
    assert out == ["interrupted", "True", "[]"]


def test_ctrl_c_while_close_waits_leaves_a_device_that_close_can_end() -> None:
    out = run("""
dev = big()
thread = threading.Thread(target=dev.finish_zone, args=(0, COUNT))
thread.start()
while dev._inside == 0:
    pass
threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    dev.close()
    signal.pause()
except KeyboardInterrupt:
    print("interrupted", dev.closed)
dev.close()
print("closed", dev._inside, len(os.listdir("/proc/self/fd")))
thread.join()
""")
    assert out[0] == "interrupted True"
    assert out[1].startswith("closed 0 ")
