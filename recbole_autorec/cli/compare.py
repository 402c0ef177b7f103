"""Compare models and print the table and the output folder."""

from __future__ import annotations

from pathlib import Path

from recbole_autorec.cli.flags import parse, parser_for
from recbole_autorec.config.values import parse_value
from recbole_autorec.errors import AutoRecError, ConfigError

DESCRIPTION = """\
Train several models on the same splits and compare them in one table and page:
RMSE and MAE in stars, significance, times, memory."""

EPILOG = """\
A --KEY applies to every model. FILE holds a whole comparison: docs/compare.md.

examples:
  %(prog)s --models IAutoRec,Bias,FM --repeats 3
  %(prog)s --models IAutoRec,BPR --metric ndcg@10
  %(prog)s comparison.yaml --output results/paper"""


def run(argv: list[str]) -> str:
    parser = parser_for("compare", DESCRIPTION, EPILOG, operands="[FILE] ")
    parser.add_argument("--models", metavar="MODELS", help="comma-separated names, or label=name")
    parser.add_argument("--config", dest="configs", metavar="FILES", help="label=file.yaml,...: parameters of a row")
    parser.add_argument("--repeats", type=parse_value, metavar="N", help="number of splits (default: 5)")
    parser.add_argument("--kfold", type=parse_value, metavar="N", help="cross-validation folds, not --repeats")
    parser.add_argument("--metric", metavar="NAME", help="rmse (default) or mae; ndcg@10 and so on rank all items")
    parser.add_argument("--reference", metavar="LABEL", help="a row to compare with, besides the best")
    parser.add_argument("--blend", nargs="?", const=True, type=parse_value, metavar="True",
                        help="add the weighted sum of all rows")  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="(default: results/<dataset>-<time>)")
    parser.add_argument("--jobs", type=parse_value, default=1, metavar="N", help="parallel trainings (default: 1)")
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
