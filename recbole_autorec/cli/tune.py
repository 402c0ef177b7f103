"""Search for parameters and print the best, its scores and the output folder."""

from __future__ import annotations

from argparse import SUPPRESS

from recbole_autorec.cli.flags import parse, parser_for
from recbole_autorec.config.values import parse_value

DESCRIPTION = """\
Search for the parameters with the best validation score, then train and test
with them. No trial sees the test part."""

EPILOG = """\
A --KEY applies to every trial. Search spaces: docs/tuning.md. For --engine ray:
--ray_address, --cpus_per_trial, --gpus_per_trial, --storage_path.

examples:
  %(prog)s --dataset ml-100k --output out
  %(prog)s --model FM --space fm.hyper --max_evals 20
  %(prog)s --dataset ml-100k --output out --resume"""


def run(argv: list[str]) -> str:
    parser = parser_for("tune", DESCRIPTION, EPILOG)
    parser.add_argument("--model", metavar="NAME", help="IAutoRec (default), UAutoRec, ..., or one of RecBole's")
    parser.add_argument("--space", metavar="FILE", help="search space (default: properties/hyper/MODEL.hyper)")
    parser.add_argument("--engine", default="hyperopt", metavar="NAME",
                        help="hyperopt (default): one trial at a time; ray: several")  # fmt: skip
    parser.add_argument("--algo", default="bayes", metavar="NAME", help="bayes (default), random or exhaustive")
    parser.add_argument("--max_evals", type=parse_value, metavar="N", help="trials (default: 50; exhaustive: all)")
    parser.add_argument("--time_budget", type=parse_value, metavar="S", help="seconds after which to test the best")
    parser.add_argument("--output", metavar="DIR", help="(default: results/tune-<model>-<dataset>-<time>)")
    parser.add_argument("--resume", action="store_true", help="continue the search in --output")
    parser.add_argument("--ray_address", help=SUPPRESS)
    for name in ("--cpus_per_trial", "--gpus_per_trial"):
        parser.add_argument(name, type=parse_value, help=SUPPRESS)
    parser.add_argument("--storage_path", metavar="DIR", help=SUPPRESS)
    known, flags = parse(parser, argv)

    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.report.summary import summary
    from recbole_autorec.tuning.tune import tune as run

    return_large_blocks()
    tuning = run(**vars(known), flags=flags)
    best = "\n".join(f"{name}: {value}" for name, value in tuning.best.items())
    files = "best.yaml, trials.csv, trials.jsonl, tuning.html, result.json"
    return f"\n{best}\n{summary(tuning.result)}\n{tuning.folder}: {files}"
