"""The lowest room: the native library, who holds what it makes, and how numbers become values.

``native`` is the one file that imports the library, ``raising.raise_error`` the one function that
turns its codes into exceptions. Nothing here knows of faults, traces, snapshots or a Device.
"""
