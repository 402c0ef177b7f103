"""Compare models; the table and where everything is."""

from __future__ import annotations

from pathlib import Path

from recbole_autorec.cli.flags import parse, parser_for
from recbole_autorec.errors import AutoRecError, ConfigError

DESCRIPTION = """\
Train several models on the same splits and put them in one table: RMSE and MAE in stars, times, memory, and which
differences are significant. Ours, and RecBole's that predict ratings (docs/built-in-models.md)."""

EPILOG = """\
every other --key value or --key=value is a parameter of all models, as for training: --refit True, --seed 1.
Their own parameters go into a file each (--config), or all into one comparison file:

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
    parser.add_argument("--models", help="names, or label=name, with commas between them")
    parser.add_argument("--config", help="label=file.yaml, with commas between them: parameters of one row")
    parser.add_argument("--repeats", help="number of splits, each with its seed (default: 5)")
    parser.add_argument("--kfold", help="cross-validation with so many folds, instead of --repeats")
    parser.add_argument("--metric", help="rmse (default) or mae; ndcg@10 and the like rank all items instead")
    parser.add_argument("--reference", metavar="LABEL", help="row that the others are compared with, besides the best")
    parser.add_argument(
        "--blend", nargs="?", const="True", help="a further row: the weighted sum of all rows' predictions"
    )
    parser.add_argument("--output", metavar="DIR", help="folder of what comes out (default: results/<dataset>-<time>)")
    parser.add_argument("--jobs", default="1", help="trainings at once (default: 1)")
    file = argv.pop(0) if argv and not argv[0].startswith("-") else None
    if file is not None and not Path(file).is_file():
        raise ConfigError(
            f"command line: there is no comparison file {file!r}; a dataset is named by --dataset, models by --models."
        )
    known, flags = parse(parser, argv)

    from recbole_autorec.comparison import tables
    from recbole_autorec.comparison.compare import compare as run
    from recbole_autorec.config.config import parse_value

    number = {key: None if (text := getattr(known, key)) is None else parse_value(text)
              for key in ("repeats", "kfold", "jobs")}  # fmt: skip
    configs = dict(pair.partition("=")[::2] for pair in known.config.split(",")) if known.config else {}
    if "" in configs.values():
        raise ConfigError(f"command line: --config {known.config!r}; expected LABEL=FILE, such as FM=fm.yaml.")
    comparison = run(
        known.models.split(",") if known.models else None,
        known.dataset,
        number["repeats"],
        kfold=number["kfold"],
        metric=known.metric,
        reference=known.reference,
        blend=None if known.blend is None else parse_value(known.blend),  # type: ignore[arg-type]
        file=file,
        configs=configs,
        config_file_list=known.config_files,
        flags=flags,
        output=known.output,
        jobs=number["jobs"],  # type: ignore[arg-type]
    )
    if not any(comparison.results(row.label) for row in comparison.plan.rows):
        raise AutoRecError("no row has a result:\n" + "\n".join(tables.failures(comparison)))
    return (
        f"\n{tables.terminal(comparison, comparison.table)}\n\n"
        + "\n".join(tables.explanation(comparison))
        + f"\n\n{comparison.folder}: report.html, table.md, table.tex, table.csv, result.json"
    )
