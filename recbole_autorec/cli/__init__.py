"""Command line. A user's mistake prints an error message without a traceback; the exit code is 2.

Each verb is a module of this package with DESCRIPTION, EPILOG and run(argv), which returns the text to print.
"""

from __future__ import annotations

import atexit
import errno
import io
import logging
import os
import signal
import sys
from importlib import import_module

from recbole_autorec.cli.flags import VERBS
from recbole_autorec.errors import AutoRecError
from recbole_autorec.installation import missing
from recbole_autorec.interruptions import Terminated, sigterm_interrupts


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv` and return the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = argv.pop(0) if argv and argv[0] in VERBS else "train"
    logging.basicConfig(level="WARNING" if "--quiet" in argv else "INFO", format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may not be able to show every id or path
        sys.stdout.reconfigure(errors="backslashreplace" if sys.stdout.isatty() else "surrogateescape")
    try:
        with sigterm_interrupts():
            if text := import_module(f"recbole_autorec.cli.{verb}").run(argv):
                print(text, flush=True)
    except BrokenPipeError:  # the reader, such as head, closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except AutoRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        sentence = missing(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 2
    except OSError as error:  # such as a path that the user may not access
        full = error.errno == errno.ENOSPC
        if error.filename is None and not full:
            raise
        where = "the output" if error.filename is None else f"'{os.fsdecode(error.filename)}'"
        print(f"error: {where}: {error.strerror}.", file=sys.stderr)
        if full:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # drop what is left in the buffer
        return 2
    except KeyboardInterrupt as interruption:
        return 143 if isinstance(interruption, Terminated) else 130
    finally:
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at exit must not change the exit code
    return 0
