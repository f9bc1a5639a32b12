"""What a command refuses, as tables: the exit status, the arguments, and what is said."""

from __future__ import annotations

import shlex

import pytest


def refusals(told: dict[int, dict[str, str]]) -> pytest.MarkDecorator:
    """Parametrizes ``options`` (split as a shell does), ``status`` and ``told``."""
    return pytest.mark.parametrize(
        ("options", "status", "told"),
        [
            pytest.param(shlex.split(options), status, said, id=options)
            for status, cases in told.items()
            for options, said in cases.items()
        ],
    )
