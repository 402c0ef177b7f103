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
    """Let glibc give freed blocks of 16 MB and more back at once, and keep smaller ones.

    It would keep up to 32 MB each, and L-BFGS's vectors fragment such a heap: 0.4 GB on ML-1M. But a threshold that is
    set turns off that of the heap's end as well, and every gradient would be given back and cleared again.
    """
    with suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-3, 16 << 20)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 256 << 20)  # M_TRIM_THRESHOLD
