"""Train one model and return the result as a table."""

from __future__ import annotations

from recbole_autorec.cli.flags import parse, parser_for

DESCRIPTION = """\
Train a model in RecBole and report RMSE and MAE in stars. Validation ratings
choose the epoch; test ratings are used once, at the end. Other verbs: compare,
tune, convert, predict, evaluate, recommend, similar, export."""

EPILOG = """\
Every parameter of the model or RecBole is a --KEY with a VALUE in YAML:
  --hidden_size [500]  hidden units        --epochs 20    maximum number
  --reg_weight 400     the paper's lambda  --refit True   then on train + valid
  --learner adam       instead of lbfgs    --final True   then on all ratings
  --row_scaling 0.5    0 is the paper      --nproc 2      several processes
properties/overall.yaml and properties/model/ list them with their meanings.

examples:
  %(prog)s --dataset ml-100k
  %(prog)s --dataset ml-1m --refit True --output results/1m
  %(prog)s --model UAutoRec --learner adam --epochs 100"""


def run(argv: list[str]) -> str:
    parser = parser_for("", DESCRIPTION, EPILOG)
    parser.add_argument("--model", metavar="NAME", help="IAutoRec (default), UAutoRec, ..., or one of RecBole's")
    parser.add_argument("--output", metavar="DIR", help="write result.json and a page, report.html")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint")
    known, flags = parse(parser, argv)
    if not vars(known).pop("show_progress"):
        flags |= {"show_progress": "False", "state": "WARNING"}

    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.quick_start import run_recbole_autorec
    from recbole_autorec.report.summary import summary

    return_large_blocks()
    return summary(run_recbole_autorec(**vars(known), flags=flags))
