"""Compare models and print the table and the output folder."""

from __future__ import annotations

from pathlib import Path

from recbole_autorec.cli.flags import parse, parser_for
from recbole_autorec.config.values import parse_value
from recbole_autorec.errors import AutoRecError, ConfigError

DESCRIPTION = """\
Train several models on the same splits and compare them in one table: RMSE and MAE in stars, times, memory, and which
differences are significant. Accepts our models and RecBole's that predict ratings (docs/built-in-models.md)."""

EPILOG = """\
Any other --key value or --key=value sets a parameter of every model, as in training: --refit True, --seed 1.
Parameters of a single model go into its own file (--config), or write everything into one comparison file:

  dataset: ml-100k
  repeats: 5
  parameters: {refit: True}
  models:
    IAutoRec:
    tuned: {model: IAutoRec, reg_weight: [250, 100], row_scaling: 0.5}
    FM: {embedding_size: 32}

examples:
  %(prog)s --dataset ml-100k --models IAutoRec,UAutoRec,BiasedMF,Bias,FM --repeats 3
  %(prog)s --dataset ml-100k --models IAutoRec,tuned=IAutoRec --config tuned=my.yaml --kfold 5
  %(prog)s comparison.yaml --output results/paper --jobs 2
  %(prog)s --dataset ml-100k --models IAutoRec,BPR,EASE --metric ndcg@10"""


def run(argv: list[str]) -> str:
    parser = parser_for("compare", DESCRIPTION, EPILOG)
    parser.usage = "%(prog)s [FILE] [--dataset DATASET] [--models MODEL,LABEL=MODEL,...] [options]"
    parser.add_argument("--models", help="comma-separated names, or label=name")
    parser.add_argument(
        "--config", dest="configs", metavar="CONFIG", help="comma-separated label=file.yaml: parameters of single rows"
    )
    parser.add_argument("--repeats", type=parse_value, help="number of splits, each with its own seed (default: 5)")
    parser.add_argument("--kfold", type=parse_value, help="number of cross-validation folds, instead of --repeats")
    parser.add_argument("--metric", help="rmse (default) or mae; ranking metrics such as ndcg@10 rank all items")
    parser.add_argument("--reference", metavar="LABEL", help="row to compare the others with, besides the best")
    parser.add_argument(
        "--blend", nargs="?", const=True, type=parse_value, help="add a row: the weighted sum of all rows' predictions"
    )
    parser.add_argument("--output", metavar="DIR", help="output folder (default: results/<dataset>-<time>)")
    parser.add_argument("--jobs", type=parse_value, default=1, help="number of parallel trainings (default: 1)")
    file = argv.pop(0) if argv and not argv[0].startswith("-") else None
    if file is not None and not Path(file).is_file():
        raise ConfigError(
            f"command line: comparison file {file!r} not found; name a dataset with --dataset, models with --models."
        )
    known, flags = parse(parser, argv)

    from recbole_autorec.comparison import tables
    from recbole_autorec.comparison.compare import compare as run

    models = known.models.split(",") if known.models else None
    configs = dict(pair.partition("=")[::2] for pair in known.configs.split(",")) if known.configs else {}
    if "" in configs.values():
        raise ConfigError(f"command line: --config {known.configs!r}; expected LABEL=FILE, such as FM=fm.yaml.")
    comparison = run(**vars(known) | {"models": models, "configs": configs}, file=file, flags=flags)
    if not any(comparison.results(row.label) for row in comparison.plan.rows):
        raise AutoRecError("no row has a result:\n" + "\n".join(tables.failures(comparison)))
    return (
        f"\n{tables.terminal(comparison, comparison.table)}\n\n"
        + "\n".join(tables.explanation(comparison))
        + f"\n\n{comparison.folder}: report.html, table.md, table.tex, table.csv, result.json"
    )
