"""Errors that a user can act on: where, what came in, what is allowed, what to do."""

from traceback import walk_tb


class AutoRecError(Exception):
    """A mistake that the user can fix: the message says where, what came in, what is allowed and what to do.

    The command line prints it without a traceback and exits with code 2.

    Examples:
        >>> from recbole_autorec import AutoRecError, Config
        >>> try:
        ...     Config("IAutoRec", "ml-100k", config_dict={"hiden_size": [50]})
        ... except AutoRecError as error:
        ...     print(error)
        config_dict: unknown key 'hiden_size'; did you mean 'hidden_size'?
    """


class ConfigError(AutoRecError):
    """A parameter is unknown, has the wrong type or is out of range. One message lists all faults."""


class DataError(AutoRecError):
    """The data cannot be read, or cannot be used for rating prediction. The message names the file and the line."""


class CheckpointError(AutoRecError):
    """A checkpoint is damaged, not one of ours, or does not belong to this data or model."""


def is_of(error: BaseException, package: str) -> bool:
    """Return whether an error was raised by a package that we called, or by what it called, rather than by us."""
    frames = (frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in walk_tb(error.__traceback__))
    return next((name == package for name in reversed([*frames]) if name in (package, "recbole_autorec")), False)


def counted(number: int, noun: str) -> str:
    """Format a count: "1 trial", "2,000 trials"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def in_one_line(error: BaseException) -> str:
    """Shorten another library's error to fit in a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
