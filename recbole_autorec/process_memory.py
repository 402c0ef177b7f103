"""Peak memory: measured, and kept from growing where the C library would let it."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

import torch


def peak_memory_mb() -> float:
    """Peak resident memory of this process; on a card, plus the peak allocated there. MiB."""
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    except ImportError:  # Windows
        import psutil

        peak = psutil.Process().memory_info().peak_wset  # type: ignore[attr-defined]
    return (peak + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)) / 2**20


def return_large_blocks() -> None:
    """Let glibc give freed blocks of 32 MB and more back at once, and keep smaller ones, 256 MB at the heap's end.

    What is given back is cleared when it is asked for again: a fifth of the time of L-BFGS on ML-1M, whose vectors have
    24 MB. Kept, they fragment the heap, by 0.2 GB there.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD
