"""Traces: recording the commands of a disk, reading such files and those of other programs,
replaying and judging them.

A package of small modules, none of which is imported before it is needed: ``zoned`` has the public
names.
"""
