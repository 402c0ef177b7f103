"""Errors that a person can act on: where, what came in, what is allowed, what to do."""


class AutoRecError(Exception):
    """A mistake the user can mend. The command line prints it without a traceback, exit code 2."""


class ConfigError(AutoRecError):
    """A parameter is unknown, has the wrong type or is out of range."""


class DataError(AutoRecError):
    """The data cannot be read, or cannot be used for rating prediction."""


class CheckpointError(AutoRecError):
    """A checkpoint is damaged, foreign, or does not belong to this data or model."""


def is_of(error: BaseException, package: str) -> bool:
    """Whether an error comes from inside a package that was called, or from what that called, rather than from here."""
    frames, trace = [], error.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_globals.get("__name__", "").partition(".")[0])
        trace = trace.tb_next
    return next((name == package for name in reversed(frames) if name in (package, "recbole_autorec")), False)


def counted(number: int, noun: str) -> str:
    """1 trial, 2,000 trials."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def in_one_line(error: BaseException) -> str:
    """Another library's error, short enough for a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
