"""The process between a crash test and the programs that it tries: it starts one at a time, and
ends what that leaves running, daemons with a session of their own included.

Run by its path with the number of a socket, on the standard library alone. Orphans come to it
(PR_SET_CHILD_SUBREAPER), so that all its children are the program's, whatever they have made of
themselves, and it can bury those that ended too soon to be seen. When the crash test ends, however
it does, the socket does, and what runs is ended as well.

An order is four bytes, its length (big-endian), with the program's output (a descriptor); then
JSON: "words", "environment". The answer is a line of JSON: "process", or "errno", or "refused". Any
byte then ends what is left of it, and the answer tells the "status" of the program, as os.waitpid
has it.
"""

import array
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time

_SET_CHILD_SUBREAPER = 36
_TURNS = 400  # a daemon that forks and ends, again and again, is not chased for ever
_LONGEST_TURN = 0.005


def main(asked: socket.socket) -> None:
    asked.set_inheritable(False)
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    while (order := _order(asked)) is not None:
        words, environment, output = order
        try:
            process = _start(words, environment, output)
        except OSError as error:
            _answer(asked, {"errno": error.errno})
        except ValueError as error:
            _answer(asked, {"refused": str(error)})
        else:
            _answer(asked, {"process": process})
            asked.recv(1)
            _answer(asked, {"status": _end(process)})
        finally:
            os.close(output)


def _order(asked: socket.socket) -> tuple[list[str], dict[str, str], int] | None:
    """The next one; None where there is nobody to give it any more."""
    room = socket.CMSG_LEN(array.array("i").itemsize)
    head, more, _, _ = asked.recvmsg(4, room, socket.MSG_CMSG_CLOEXEC)
    if not head:
        return None
    output = int.from_bytes(more[0][2], sys.byteorder)
    head += _exactly(asked, 4 - len(head))
    order = json.loads(_exactly(asked, int.from_bytes(head, "big")))
    return order["words"], order["environment"], output


def _exactly(asked: socket.socket, length: int) -> bytes:
    """Raises ConnectionResetError where it ends before."""
    found = b""
    while length > len(found):
        piece = asked.recv(length - len(found))
        if not piece:
            raise ConnectionResetError
        found += piece
    return found


def _start(words: list[str], environment: dict[str, str], output: int) -> int:
    """Its output is one pipe, there is no input, and Python's own signals are as they were."""
    return os.posix_spawnp(
        words[0],
        words,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ],
        setsid=True,
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _end(process: int) -> int:
    """Kill it and what it has left, and what that leaves. A program that the kernel holds in a call
    is waited for; of the others, one that will not go is given up, and ended with the next."""
    status = None
    turn = 0
    while turn < _TURNS or status is None:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if ended:
            status = how if ended == process else status
            continue
        ours = [child for child in _children() if _kill(child)]
        if not ours and status is not None:
            break
        time.sleep(min(0.0002 * 1.2 ** min(turn, 50), _LONGEST_TURN))
        turn += 1
    assert status is not None
    return status


def _kill(process: int) -> bool:
    """False: it runs as somebody else by now."""
    try:
        os.kill(process, signal.SIGKILL)
    except PermissionError:
        return False
    return True


def _children() -> list[int]:
    with open("/proc/thread-self/children", encoding="utf-8") as file:
        return [int(word) for word in file.read().split()]


def _answer(asked: socket.socket, answer: dict[str, object]) -> None:
    asked.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    with contextlib.suppress(ConnectionError):  # of a crash test that was killed
        main(socket.socket(fileno=int(sys.argv[1])))
