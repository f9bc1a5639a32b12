"""The models of drives under the name that benchmarks have for them: zoned.drives.models."""

from __future__ import annotations

__all__ = ["Model", "drives", "load_drive", "load_model", "null_model"]

from zoned.drives.models import Model, drives, load_drive, load_model, null_model
