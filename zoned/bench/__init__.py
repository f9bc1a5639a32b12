"""Benchmarks of write patterns: drive models in virtual time, fio's job files, reports, sweeps.

Everything that takes time runs in C (native/sim); this package describes what is to run and tells
what came out. Modules, from the bottom up: jobs (one job), simulation (a run), fiofile (fio's job
files), patterns (named ones), cleaning (the log-structured layer by itself), fit (parameters from
published figures), results (what a run gives, as numbers), logs, table, html, compare, sweep and
sweeppage, fitjobs, fitresults, fitparameters and calibrate (a profile of one's own drive). The
models of drives are zoned.drives's. Used by ``zonedctl bench``; nothing else in zoned imports it.
"""

from __future__ import annotations

__all__ = ["Job", "Model", "Run", "Simulation", "load_model"]

from zoned.bench.jobs import Job
from zoned.bench.simulation import Run, Simulation
from zoned.drives.models import Model, load_model
