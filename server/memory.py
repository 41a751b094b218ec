"""Keeps freed memory usable, however many threads it was taken by."""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h of glibc


def share_malloc_arena() -> None:
    """Let all threads take memory from one arena of glibc's malloc; does nothing with another C library.

    By default each thread takes from one of up to eight arenas a core, and what is freed in one is not used by the
    threads of another. gRPC allocates a stream in whichever of its threads reads it: floods that came and went left
    the server with twice the memory of one of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
