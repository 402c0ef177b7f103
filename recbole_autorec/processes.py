"""Processes that we start."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager


@contextmanager
def same_imports():
    """What we can import, a process that starts meanwhile can."""
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    try:
        yield
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path
