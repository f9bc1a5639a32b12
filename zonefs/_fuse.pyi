"""Types of the cffi module: the functions and structs of native/fs/fuse.h, which is their manual.

cffi handles have no static types.
"""

from typing import Any

class _Lib:
    def __getattr__(self, name: str) -> Any: ...

ffi: Any
lib: _Lib
