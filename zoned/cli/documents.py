"""JSON as the commands print it: one document, whole in memory or an item at a time.

A list that may have millions of items is written as it comes, one item a line, so that a reader
sees the first one at once and nothing is held. Prints nothing itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from zoned.cli.app import whole


def dumps(document: object, indent: int | None = None) -> str:
    """A document as text, without the last newline."""
    return whole(json.dumps(document, indent=indent))


def listing(head: Mapping[str, object], name: str, batches: Iterable[str]) -> Iterator[str]:
    """One document: the head, and under ``name`` a list.

    ``batches`` are texts of whole lines, a JSON value each; what is given is to be written as it
    is. The first piece comes before the first batch is asked for.
    """
    yield dumps(head)[:-1] + f", {json.dumps(name)}: ["
    before = "\n"
    for batch in batches:
        if batch:
            yield before + batch.rstrip("\n").replace("\n", ",\n")
            before = ",\n"
    yield "\n]}\n"
