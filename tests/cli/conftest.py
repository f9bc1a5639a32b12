"""Scratch folders of these tests lie in memory where they can: most of the time would go into fsync."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("cli")
        return
    folder = Path(tempfile.mkdtemp(prefix="zoned-test-", dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
