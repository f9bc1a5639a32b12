"""Zone sets: parsed, merged and looked up like a plain set of ints, whatever the ranges."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoned.zonelist import ZoneListError, ZoneSet

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=12)


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        ("0", ((0, 1),)),
        ("3-7,12", ((3, 5), (12, 1))),
        ("12,3-7", ((3, 5), (12, 1))),
        ("3-7,5-9", ((3, 7),)),
        ("3-4,5-6", ((3, 4),)),
        ("1,1,1", ((1, 1),)),
        (" 3 - 7 , 12 ", ((3, 5), (12, 1))),
        ("0-16777215", ((0, 2**24),)),
    ],
)
def test_parse(text: str, ranges: tuple[tuple[int, int], ...]) -> None:
    assert ZoneSet.parse(text).ranges() == ranges


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "'' is not a zone or a range: write zones like 3-7,12"),
        ("3,", "'' in '3,' is not a zone or a range"),
        ("3-", "'3-' is not a zone or a range"),
        ("-3", "'-3' is not a zone or a range"),
        ("1,a", "'a' in '1,a' is not a zone"),
        ("7-3", "the range 7-3 runs backwards: write 3-7"),
        ("3-16", "zone 16 does not exist: the disk has zones 0 to 15"),
        ("1.5", "'1.5' is not a zone"),
    ],
)
def test_parse_errors_name_the_part(text: str, part: str) -> None:
    with pytest.raises(ZoneListError) as caught:
        ZoneSet.parse(text, nr_zones=16)
    assert part in str(caught.value)


def test_bad_ranges() -> None:
    with pytest.raises(ZoneListError, match="zone -1 does not exist"):
        ZoneSet([(-1, 2)])
    with pytest.raises(ZoneListError, match="a range of 0 zones from zone 4"):
        ZoneSet([(4, 0)])
    with pytest.raises(ZoneListError, match="zone 16777216 does not exist"):
        ZoneSet([(2**24, 1)])


@given(RANGES)
def test_behaves_like_a_set(ranges: list[tuple[int, int]]) -> None:
    plain = {zone for first, count in ranges for zone in range(first, first + count)}
    zones = ZoneSet(ranges)
    assert list(zones) == sorted(plain)
    assert len(zones) == len(plain)
    assert zones == plain
    assert hash(zones) == hash(ZoneSet.of(plain))
    assert [zone in zones for zone in range(-1, 80)] == [zone in plain for zone in range(-1, 80)]
    assert zones.last == max(plain, default=-1)
    ends = [(first, first + count) for first, count in zones.ranges()]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    if plain:
        assert ZoneSet.parse(str(zones)) == zones
        assert eval(repr(zones), {"ZoneSet": ZoneSet}) == zones
    assert pickle.loads(pickle.dumps(zones)) == zones
    assert copy.deepcopy(zones) == zones


@given(RANGES, RANGES, st.integers(0, 80))
def test_set_arithmetic_and_runs(
    left: list[tuple[int, int]], right: list[tuple[int, int]], nr_zones: int
) -> None:
    a, b = ZoneSet(left), ZoneSet(right)
    assert set(a & b) == set(a) & set(b)
    assert set(a | b) == set(a) | set(b)
    assert set(a - b) == set(a) - set(b)
    runs = list(a.runs(nr_zones))
    assert sum(count for _, count, _ in runs) == nr_zones
    inside = {z for first, count, there in runs if there for z in range(first, first + count)}
    assert inside == {zone for zone in a if zone < nr_zones}
    assert all(one[2] != two[2] for one, two in itertools.pairwise(runs))


def test_other_things_are_not_in_it() -> None:
    assert "3" not in ZoneSet.parse("3")
    assert ZoneSet() == set()
    assert not ZoneSet()
