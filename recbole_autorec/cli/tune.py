"""Search for parameters and print the best, its scores and the output folder."""

from __future__ import annotations

from recbole_autorec.cli.flags import parse, parser_for
from recbole_autorec.cli.train import summary
from recbole_autorec.config.values import parse_value

DESCRIPTION = """\
Search for the parameters with the best validation score, then train and test with them. No trial sees the test part.
Accepts any model that train accepts."""

EPILOG = """\
A search space has one line per parameter, in RecBole's format:

  reg_weight loguniform 3.9,6.6        natural logarithms of 49 and 735
  row_scaling uniform 0,0.8
  train_batch_size quniform 256,4096,256
  hidden_size choice ['[250]','[500]']

Any other --key value or --key=value sets a parameter of every trial, as in training.

examples:
  %(prog)s --model IAutoRec --dataset ml-100k
  %(prog)s --model FM --dataset ml-100k --space fm.hyper --algo random --max_evals 20 --output results/fm
  %(prog)s --model FM --dataset ml-100k --space fm.hyper --algo random --max_evals 20 --output results/fm --resume
  %(prog)s --model UAutoRec --dataset ml-100k --engine ray --ray_address auto --cpus_per_trial 2"""


def run(argv: list[str]) -> str:
    parser = parser_for("tune", DESCRIPTION, EPILOG)
    parser.add_argument("--model", help="IAutoRec (default), UAutoRec, BiasedMF, or one of RecBole's")
    parser.add_argument("--space", metavar="FILE", help="search space (default: properties/hyper/MODEL.hyper)")
    parser.add_argument(
        "--engine", default="hyperopt", help="hyperopt (default), one trial at a time; or ray, with ASHA"
    )
    parser.add_argument("--algo", default="bayes", help="bayes (default), random, or exhaustive if all are choices")
    parser.add_argument("--max_evals", type=parse_value, help="configurations to try (default: 50; exhaustive: all)")
    parser.add_argument(
        "--time_budget", type=parse_value, metavar="SECONDS", help="stop the search after this time and test the best"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="output folder (default: results/tune-<model>-<dataset>-<time>)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the search in --output")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="running cluster, or auto (default: this machine)")
    parser.add_argument("--cpus_per_trial", type=parse_value, metavar="N", help="CPUs per Ray trial (default: 1)")
    parser.add_argument(
        "--gpus_per_trial", type=parse_value, metavar="N", help="GPUs per Ray trial, fractions allowed (default: 0)"
    )
    parser.add_argument(
        "--storage_path", metavar="DIR", help="shared folder for Ray's checkpoints (default: none kept)"
    )
    known, flags = parse(parser, argv)

    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.tuning.tune import tune as run

    return_large_blocks()
    tuning = run(**vars(known), flags=flags)
    best = "\n".join(f"{name}: {value}" for name, value in tuning.best.items())
    files = "best.yaml, trials.csv, trials.jsonl, tuning.html, result.json"
    return f"\n{best}\n{summary(tuning.result)}\n{tuning.folder}: {files}"
