"""Commands of a disk beside reading, writing and zone commands: those that hosts have for its
caches and blocks.

Each is a request to the core (zoned/request.h), given and waited for. `Device` has
them all.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex

from zoned._core.handle import Handle
from zoned._core.native import Guard, ffi, lib
from zoned._core.raising import bad_number, raise_error
from zoned.units import counted

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["HostCommands"]

_FILTERS = {
    "any": lib.ZD_REPORT_ANY,
    "empty": lib.ZD_REPORT_EMPTY,
    "implicit-open": lib.ZD_REPORT_IMPLICIT_OPEN,
    "explicit-open": lib.ZD_REPORT_EXPLICIT_OPEN,
    "closed": lib.ZD_REPORT_CLOSED,
    "full": lib.ZD_REPORT_FULL,
    "read-only": lib.ZD_REPORT_READ_ONLY,
    "offline": lib.ZD_REPORT_OFFLINE,
    "reset-recommended": lib.ZD_REPORT_RESET_RECOMMENDED,
    "non-seq": lib.ZD_REPORT_NON_SEQ,
    "not-wp": lib.ZD_REPORT_NOT_WP,
}


class HostCommands(Handle):
    """What Device has of them."""

    __slots__ = ()

    def preadv(self, buffers: Iterable[Buffer], offset: SupportsIndex) -> int:
        """Read from `offset` (bytes) into several writable buffers, one behind the other; return
        the bytes read.

        Their sum must be a multiple of the logical block. Errors as pread; TypeError or
        BufferError for what is no writable buffer.
        """
        return self._give(lib.ZD_OP_READ, offset=offset, buffers=buffers, writable=True)[0]

    def appendv(self, zone: SupportsIndex, buffers: Iterable[Buffer]) -> int:
        """Append several buffers to a zone as one command, one behind the other; return the
        offset where they begin.

        Errors as append.
        """
        pieces = list(buffers)
        with self._command(f"appendv({zone}, {counted(len(pieces), 'buffer')})", *pieces):
            return self._give(lib.ZD_OP_APPEND, zone=zone, buffers=pieces)[1]

    def pwrite_fua(self, data: Buffer, offset: SupportsIndex) -> int:
        """As pwrite, with Force Unit Access: when it returns, what was written in the zones that
        it touches is durable.

        A power cut takes nothing of it, and the host has synced it (unless `host_sync` is never).
        Other zones are not flushed. Errors as pwrite and flush.
        """
        with self._command(
            f"pwrite_fua({counted(memoryview(data).nbytes, 'byte')}, {offset})", data
        ):
            return self._give(lib.ZD_OP_WRITE, lib.ZD_REQ_FUA, offset=offset, buffers=[data])[0]

    def append_fua(self, zone: SupportsIndex, data: Buffer) -> int:
        """As append, with Force Unit Access (see pwrite_fua); return the offset where the data
        begins.
        """
        with self._command(f"append_fua({zone}, {counted(memoryview(data).nbytes, 'byte')})", data):
            return self._give(lib.ZD_OP_APPEND, lib.ZD_REQ_FUA, zone=zone, buffers=[data])[1]

    def flush_range(self, offset: SupportsIndex, length: SupportsIndex) -> None:
        """Make durable what was written in the zones that bytes offset .. offset+length-1 touch
        (SBC-4 SYNCHRONIZE CACHE).

        Both are multiples of the logical block. Length 0 flushes the whole disk, as flush. Raises
        OutOfRangeError, BlockAlignmentError, and what flush does.
        """
        with self._command(f"flush_range({offset}, {length})"):
            self._give(lib.ZD_OP_FLUSH, offset=offset, length=length)

    def write_zeroes(
        self, offset: SupportsIndex, length: SupportsIndex, *, fua: bool = False
    ) -> None:
        """Make bytes of conventional zones zero, without data (SBC-4 WRITE SAME, NVMe Write
        Zeroes).

        A power cut before the next flush (or with `fua`: none) may bring back any of the blocks.
        Raises SequentialZoneError where it begins in a sequential zone, WriteBoundaryError where
        it runs into one, and what pwrite raises there.
        """
        with self._command(f"write_zeroes({offset}, {length})"):
            flags = lib.ZD_REQ_FUA if fua else 0
            self._give(lib.ZD_OP_WRITE_ZEROES, flags, offset=offset, length=length)

    def deallocate(self, offset: SupportsIndex, length: SupportsIndex) -> None:
        """As write_zeroes, and the image gives the blocks back to its host (SBC-4 UNMAP, NVMe
        Deallocate).

        They read as zeros from then on, which a real drive need not promise.
        """
        with self._command(f"deallocate({offset}, {length})"):
            self._give(lib.ZD_OP_DEALLOCATE, offset=offset, length=length)

    def verify(self, offset: SupportsIndex, length: SupportsIndex) -> None:
        """Let the disk read bytes and hand over nothing (SBC-4 VERIFY). Raises what pread of them
        would: MediumError.
        """
        self._give(lib.ZD_OP_VERIFY, offset=offset, length=length)

    def compare(self, data: Buffer, offset: SupportsIndex) -> None:
        """Let the disk compare its bytes from `offset` on with `data` (VERIFY with BYTCHK, NVMe
        Compare).

        Raises MiscompareError, whose `bound` is the first byte that differs, and what pread
        raises.
        """
        self._give(lib.ZD_OP_COMPARE, offset=offset, buffers=[data])

    def zones_listed(
        self,
        option: str = "any",
        start: SupportsIndex = 0,
        count: SupportsIndex | None = None,
        *,
        partial: bool = False,
    ) -> tuple[list[int], int]:
        """The zones from `start` on that a REPORT ZONES with this reporting option lists (ZBC-2,
        ZNS 1.1).

        `option`: any, empty, implicit-open, explicit-open, closed, full, read-only, offline,
        reset-recommended, non-seq or not-wp. Returns their indices, at most `count`, and the
        length of the list: how many there are up to the disk's end, or with `partial` (the
        PARTIAL bit) how many are returned. Raises ValueError for another option, OutOfRangeError
        for a start behind the last zone.
        """
        if option not in _FILTERS:
            raise ValueError(f"option is {option!r}: it must be one of {', '.join(_FILTERS)}")
        first = self._number("zone", start)
        most = self.geometry.nr_zones if count is None else self._number("count", count)
        most = min(most, max(0, self.geometry.nr_zones - first))
        zones = ffi.new("struct zd_zone[]", max(most, 1))
        request = _request(lib.ZD_OP_REPORT, lib.ZD_REQ_PARTIAL if partial else 0)
        request.zone, request.count, request.filter, request.zones = (
            first,
            most,
            _FILTERS[option],
            zones,
        )
        total = self._submit(request)
        return [zones[i].index for i in range(min(total, most))], total

    # ------------------------------------------------------------ inside

    def _command(
        self,
        text: str,  # noqa: ARG002
        *data: Any,  # noqa: ARG002
    ) -> contextlib.AbstractContextManager[None]:
        """Around a command that changes the disk, for those who watch."""
        return contextlib.nullcontext()

    def _give(
        self,
        op: int,
        flags: int = 0,
        *,
        zone: SupportsIndex = 0,
        offset: SupportsIndex = 0,
        length: SupportsIndex = 0,
        buffers: Iterable[Buffer] = (),
        writable: bool = False,
    ) -> tuple[int, int]:
        """Result and landed of one request."""
        held = [ffi.from_buffer("char[]", piece, require_writable=writable) for piece in buffers]
        iov = ffi.new("struct iovec[]", max(len(held), 1))
        for i, piece in enumerate(held):
            iov[i].iov_base, iov[i].iov_len = piece, len(piece)
        request = _request(op, flags)
        request.zone = self._number("zone", zone)
        request.offset = self._bytes("offset", offset)
        request.length = self._bytes("length", length)
        request.iov, request.nr_iov = iov, len(held)
        try:
            return self._submit(request), request.landed
        finally:
            for piece in held:
                ffi.release(piece)

    def _bytes(self, name: str, value: SupportsIndex) -> int:
        number = operator.index(value)
        if not 0 <= number < 2**63:
            raise bad_number(self, name, number)
        return number

    def _submit(self, request: Any) -> int:
        err = ffi.new("struct zd_error *")
        request.err = err
        with Guard(self):
            lib.zd_submit(self._handle, request)
        result = int(request.result)
        if result < 0:
            raise_error(result, err, self, self._given)
        return result


def _request(op: int, flags: int) -> Any:
    request = ffi.new("struct zd_request *")
    request.size, request.op, request.flags = ffi.sizeof("struct zd_request"), op, flags
    return request
