"""Public names of a package that are imported when they are first used."""

import importlib
import sys


def find(package: str, where: dict[str, str], name: str) -> object:
    """What ``name`` is in the module of the package that ``where`` says; it is kept there. Raises
    AttributeError for a name that is not in it.
    """
    if name not in where:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
    setattr(sys.modules[package], name, value)
    return value
