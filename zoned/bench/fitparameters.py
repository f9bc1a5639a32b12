"""Which parameters of a model ``bench fit`` fits, and why it leaves the others as they are."""

from __future__ import annotations

from collections.abc import Iterator

from zoned.drives.models import KINDS, TABLES

PARAMETERS: dict[str, tuple[str, ...]] = {
    "hdd": (
        *("host_us", "hdd.rate_outer_mb_s", "hdd.rate_inner_mb_s", "hdd.seek_avg_ms"),
        *("hdd.seek_full_ms", "hdd.seek_margin_ms", "hdd.overhead_us", "hdd.interface_mb_s"),
        *("hdd.fill_mb_s", "hdd.cache_entries", "hdd.zone_switch_ms", "hdd.reset_ms"),
    ),
    "zns": (
        *("host_us", "zns.write_base_us", "zns.write_unit_us", "zns.list_us"),
        *("zns.write_service_us", "zns.write_mib_s", "zns.append_extra_us", "zns.append_unit_us"),
        *("zns.append_service_us", "zns.read_base_us", "zns.read_kib_us", "zns.die_share"),
        *("zns.read_mib_s", "zns.reset_base_ms", "zns.reset_full_ms", "zns.reset_open_ms"),
    ),
    "drive-managed": (
        *("host_us", "hdd.rate_outer_mb_s", "hdd.rate_inner_mb_s", "hdd.seek_avg_ms"),
        *("hdd.seek_full_ms", "hdd.overhead_us"),
    ),
}
"""By kind of model: what short jobs show."""
WHOLE = ("hdd.cache_entries",)
"""Those that are whole numbers."""
MOST = {"zns.die_share": 1.0}
"""Those that have an upper end."""

_MAKE = "how the drive is made, which its data sheet tells and no figure follows smoothly"
_NO_COMMAND = "fio sends no such command"
_HOURS = "it shows when the media cache fills up, which takes hours"
_WITHIN = "a small part of every seek, which is not told apart from the rest of it"
_MIXED = "it shows where commands of several kinds meet, which the jobs do not let happen"
KEPT: dict[str, dict[str, tuple[str, ...]]] = {
    "hdd": {
        _MAKE: (
            *("hdd.rpm", "hdd.heads", "hdd.cache", "hdd.stream", "hdd.readahead", "hdd.queue"),
            "hdd.piece",
        ),
        _WITHIN: ("hdd.seek_one_ms", "hdd.head_switch_ms", "hdd.write_settle_ms"),
        _NO_COMMAND: ("hdd.finish_ms", "hdd.open_ms", "hdd.close_ms"),
    },
    "zns": {
        _MAKE: (
            *("zns.unit", "zns.buffer", "zns.shot", "zns.shot_spread", "zns.dies", "zns.stripe"),
            "zns.page",
        ),
        "it hides behind the dies, which are slower": ("zns.read_service_us",),
        _MIXED: (
            *("zns.append_other_us", "zns.suspend_us", "zns.resume_us", "zns.suspend_reads"),
            "zns.reset_slice_ms",
        ),
        "the jobs read at random, and no stream": (
            *("zns.sense_us", "zns.ahead_us", "zns.ahead_kib_us", "zns.ahead_service_us"),
            "zns.ahead_mib_s",
        ),
        _NO_COMMAND: (
            *("zns.finish_base_ms", "zns.finish_mib_s", "zns.finish_empty_us", "zns.open_us"),
            "zns.close_us",
        ),
        "a small part of every RESET, which is not told apart from the rest of it": (
            *("zns.reset_data_ms", "zns.reset_unfinished_ms"),
        ),
        "a part of the first command in a zone, which no mean shows": (
            *("zns.first_write_us", "zns.first_append_us"),
        ),
    },
    "drive-managed": {
        _MAKE: (
            *("hdd.rpm", "hdd.heads", "hdd.cache", "hdd.stream", "hdd.readahead", "hdd.queue"),
            *("hdd.piece", "dm.band", "dm.streams"),
        ),
        _WITHIN: ("hdd.seek_one_ms", "hdd.head_switch_ms", "hdd.write_settle_ms"),
        "the jobs write little, and read one command after the other": (
            *("hdd.seek_margin_ms", "hdd.cache_entries", "hdd.interface_mb_s"),
        ),
        "such a drive has no zones to see": (
            *("hdd.zone_switch_ms", "hdd.reset_ms", "hdd.finish_ms", "hdd.open_ms"),
            *("hdd.close_ms", "hdd.fill_mb_s"),
        ),
        _HOURS: ("dm.media_cache", "dm.map_entries", "dm.band_passes", "dm.idle_ms"),
    },
}
"""By kind of model, and why short jobs of fio do not show them: the other parameters."""


def of_kind(kind: str) -> Iterator[str]:
    """All parameters of a kind of model, under the names used here."""
    yield "host_us"
    for table in KINDS[kind][1]:
        yield from (f"{table}.{parameter.name}" for parameter in TABLES[table])
