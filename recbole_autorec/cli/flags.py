"""Flags shared by several verbs, and messages about unknown flags."""

from __future__ import annotations

import argparse
import difflib
from functools import partial
from pathlib import Path
from typing import Any

from recbole_autorec.errors import ConfigError
from recbole_autorec.installation import check_recbole
from recbole_autorec.invocation import command_line, versions
from recbole_autorec.reading.options import Options

VERBS = ("train", "compare", "tune", "convert", "predict", "evaluate", "recommend", "similar", "export")
FLAG_OF_FILE = {".yaml": "--config_files", ".yml": "--config_files", ".hyper": "--space", ".pth": "--resume"}
READING = {
    "columns": ("COLUMNS", "user,item,rating,-,timestamp or user=NAME,item=NAME,..."),
    "separator": ("TEXT", "field separator, such as ; or tab or blanks"),
    "encoding": ("NAME", "text encoding, such as cp1252 (default: utf-8)"),
    "header": (None, "whether the first line names the columns"),
    "quotes": (None, "whether fields may be in double quotes"),
    "decimal": ("MARK", "decimal mark of ratings, . or ,"),
    "date_format": ("TEXT", "format of timestamps, such as '%%d/%%m/%%Y %%H:%%M'"),
    "not_rated": ("RATING", "rating that means 'not rated', such as -1: left out"),
}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ConfigError."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.given: dict[str, Any] = {}
        self.register("action", None, Once)

    def error(self, message):
        raise ConfigError(f"command line: {message}; see --help.")

    def parse_known_args(self, args=None, namespace=None):
        known, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            names = (*action.metavar,) if isinstance(action.metavar, tuple) else (action.metavar,)
            if {*names} & {"DIR", "FILE", "CHECKPOINT", "IDS"} and getattr(known, action.dest) == "":
                self.error(f"{action.option_strings[0]} is empty")
        return known, rest


class Versions(argparse.Action):
    """Print the versions that a report of a problem needs."""

    def __init__(self, option_strings, dest, **keywords):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, **keywords)

    def __call__(self, parser, namespace, values, option_string=None):
        print("\n".join(f"{name} {version}" for name, version in versions().items()))
        parser.exit()


class Once(argparse.Action):
    """Reject a flag repeated with another value; argparse would silently keep the last."""

    def __call__(self, parser, namespace, values, option_string=None):
        before = parser.given.setdefault(self.dest, values)
        if before != values:
            parser.error(f"{option_string} is given twice, as {before!r} and as {values!r}")
        setattr(namespace, self.dest, values)


def bare_parser(verb: str, description: str, epilog: str, usage: str = "[options]") -> Parser:
    """Return a parser with the flags of every verb. Its help fits a screen of 80 columns and 30 lines."""
    parser = Parser(
        prog=f"{command_line()} {verb}".strip(),
        usage=f"%(prog)s {usage}",
        description=description,
        epilog=epilog,
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, max_help_position=23, width=80),
        allow_abbrev=False,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.add_argument("--version", action=Versions, help="versions of this package, RecBole, torch, numpy, pandas")
    parser.add_argument(
        "--quiet", dest="show_progress", action="store_false", help="print only the result, warnings and errors"
    )
    return parser


def parser_for(verb: str, description: str, epilog: str, operands: str = "") -> Parser:
    """Return a parser with the flags of the verbs that train."""
    parser = bare_parser(verb, description, epilog, f"{operands}[options] [--KEY VALUE ...]")
    parser.add_argument("--dataset", metavar="NAME", help="a folder in --data_path, or ml-100k (default)")
    parser.add_argument("--data_path", metavar="DIR", help="folder of the datasets (default: dataset)")
    parser.add_argument("--config_files", dest="config_file_list", nargs="+", default=[], metavar="FILE",
                        help="YAML files with parameters")  # fmt: skip
    parser.add_argument("--seed", metavar="N", help="of split, weights and batches (default: 2020)")
    parser.add_argument("--features", nargs="?", const="True", metavar="True",
                        help="give .user and .item files to context-aware models")  # fmt: skip
    return parser


def checkpoint_parser(verb: str, description: str, epilog: str) -> Parser:
    """Return a parser with --checkpoint."""
    check_recbole()
    parser = bare_parser(verb, description, epilog)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="(required) the trained model")
    return parser


def serving_parser(verb: str, description: str, epilog: str, new_ratings: bool = True) -> Parser:
    """Return a parser with the flags of the verbs that use a checkpoint for predictions."""
    parser = checkpoint_parser(verb, description, epilog)
    parser.add_argument("--output", metavar="FILE", help=".tsv, .csv, .json or .jsonl (default: print)")
    if new_ratings:
        parser.add_argument("--new_ratings", metavar="FILE", help="ratings by new users (predict: or of new items)")
    return parser


def reading_flags(parser: Parser, prefix: str, what: str = "the input") -> None:
    """Add the flags that say how to read a file. Flags with a prefix are not listed in --help."""
    group = parser.add_argument_group(f"how to read {what} (detected unless given)")
    for name, (metavar, meaning) in READING.items():
        group.add_argument(
            f"--{prefix}{name}",
            help=argparse.SUPPRESS if prefix else meaning,
            choices=None if metavar else ("yes", "no"),
            metavar=metavar,
        )


def options_of(known: argparse.Namespace, *prefixes: str) -> Options:
    """Return the flags with the first prefix; those not given fall back to the next prefix."""
    given: dict[str, Any] = {}
    for name in READING:
        values = (getattr(known, prefix + name) for prefix in prefixes)
        value = next((value for value in values if value is not None), None)
        given[name] = value == "yes" if value in ("yes", "no") and name in ("header", "quotes") else value
    return Options(**given, skips="skip_bad_lines" in known, prefix=prefixes[0])


def skip_flag(parser: Parser) -> None:
    parser.add_argument("--skip_bad_lines", action="store_true", help="leave out invalid lines, and list them")


def only_known(parser: Parser, argv: list[str]) -> argparse.Namespace:
    """Parse the flags of a verb that takes no model parameters."""
    flags = list(parser._option_string_actions)
    for name in (argument.partition("=")[0] for argument in argv if argument.startswith("--")):
        if name not in flags:
            near = difflib.get_close_matches(name, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "see --help."
            raise ConfigError(f"command line: unknown flag {name}; {hint}")
    return parser.parse_args(_joined(argv))


def _joined(argv: list[str]) -> list[str]:
    """Join flags and values that may begin with - into --flag=value, since argparse takes - and -1 for flags."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1].removeprefix("--").removeprefix("new_") in (*READING, "users", "items"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


def parse(parser: Parser, argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Return our own flags as arguments for the verb's function, and every other --key value as text."""
    known, rest = parser.parse_known_args(argv)
    check_recbole()
    parameters = ("data_path", "seed", "features")  # Config reads these like other parameters
    flags = {key: value for key in parameters if (value := vars(known).pop(key)) is not None}
    while rest:
        key, equals, value = rest.pop(0).partition("=")
        if not key.startswith("--"):
            near = [name for name in difflib.get_close_matches(key, VERBS, n=1) if name != key]
            meant = near[0] if near else f"{FLAG_OF_FILE.get(Path(key).suffix, '--key')} {key}"
            hint = "the verb must come first." if key in VERBS else f"did you mean {meant!r}?"
            raise ConfigError(f"command line: unexpected argument {key!r}; {hint}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"command line: {key} has no value; give {key} VALUE, such as {key} True.")
            value = rest.pop(0)
        if flags.get(key[2:], value) != value:
            raise ConfigError(f"command line: {key} is given twice, as {flags[key[2:]]!r} and as {value!r}.")
        flags[key[2:]] = value
    ours = {name.removeprefix("--") for name in parser._option_string_actions}
    for name in flags.keys() - ours:
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.75)
        if near:
            from recbole_autorec.config.config import is_parameter

            if not is_parameter(name):
                raise ConfigError(f"command line: unknown flag --{name}; did you mean --{near[0]}?")
    return known, flags
