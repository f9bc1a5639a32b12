"""Drives: profiles of disks, models of what takes a drive its time, and the clock that asks one.

A disk needs these without a benchmark; ``zoned.bench`` runs whole workloads on the same models.
"""
