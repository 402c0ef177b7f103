"""Command line: verbs and flags in, a table out. No traceback for a user's mistake, exit code 2."""

from __future__ import annotations

import argparse
import atexit
import difflib
import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_autorec import __version__
from recbole_autorec.errors import AutoRecError, ConfigError
from recbole_autorec.installation import check_recbole, missing
from recbole_autorec.interruptions import Terminated, sigterm_interrupts
from recbole_autorec.invocation import command_line
from recbole_autorec.reading.options import Options

TRAIN = """\
Train a model in RecBole and report RMSE and MAE in stars: I-AutoRec unless --model says otherwise.
The epoch is chosen on a validation part; the test part is used once, at the end.

Other verbs: compare, tune, convert, predict, evaluate, recommend, similar, export (compare --help and so on)."""

TRAIN_EPILOG = """\
every other parameter of RecBole or the model, as --key value or --key=value (values are YAML):
  --hidden_size [500]        units of each hidden layer
  --reg_weight 400           the paper's lambda; it follows the number of ratings unless given
  --row_scaling 0.5          tame long rows; 0 is the paper
  --learner adam             instead of lbfgs; also rprop, sgd, ... with --train_batch_size 512
  --epochs 20                at most; --stopping_step 3 ends earlier
  --refit True               train again on train + valid for the chosen number of epochs, then test
  --final True               then once more on every rating: the checkpoint's model, which has no score of its own
  --nproc 2                  processes that train it together, each on a card or on cores; docs/scaling.md for machines
  --eval_args "{split: {RS: [0.8, 0.1, 0.1]}}"
The whole list with meanings: properties/overall.yaml, properties/model/*.yaml, and RecBole's documentation.
A flag beats a config file, a later file an earlier one, and any file the defaults.

examples:
  %(prog)s --dataset ml-100k
  %(prog)s --dataset ml-1m --data_path dataset --refit True --output results/ml-1m
  %(prog)s --dataset ml-100k --model UAutoRec --learner adam --train_batch_size 512 --epochs 100
  %(prog)s --dataset ml-100k --metrics [NDCG,Recall] --eval_args "{mode: full}" --valid_metric NDCG@10"""

COMPARE = """\
Train several models on the same splits and put them in one table: RMSE and MAE in stars, times, memory, and which
differences are real. Ours, and RecBole's that predict ratings (docs/built-in-models.md)."""

COMPARE_EPILOG = """\
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


TUNE = """\
Search for the parameters with the best validation score; train, and test, the best once more at the end. No trial sees
the test part. Any model that train takes."""

TUNE_EPILOG = """\
A space has a line for each parameter, in RecBole's format:

  reg_weight loguniform 3.9,6.6        the natural logarithms of 49 and 735
  row_scaling uniform 0,0.8
  train_batch_size quniform 256,4096,256
  hidden_size choice ['[250]','[500]']

every other --key value or --key=value is a parameter of all trials, as for training.

examples:
  %(prog)s --model IAutoRec --dataset ml-100k
  %(prog)s --model FM --dataset ml-100k --space fm.hyper --algo random --max_evals 20 --output results/fm
  %(prog)s --model FM --dataset ml-100k --space fm.hyper --algo random --max_evals 20 --output results/fm --resume
  %(prog)s --model UAutoRec --dataset ml-100k --engine ray --ray_address auto --cpus_per_trial 2"""


class Parser(argparse.ArgumentParser):
    """argparse whose errors are ours."""

    def error(self, message):
        raise ConfigError(f"command line: {message}; --help has the flags.")

    def parse_known_args(self, args=None, namespace=None):
        known, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            if action.metavar in ("DIR", "FILE", "CHECKPOINT") and getattr(known, action.dest) == "":
                self.error(f"{action.option_strings[0]} is empty")
        return known, rest


CONVERT = """\
Write ratings in RecBole's format into --data_path: from csv and its kin, GroupLens's .dat and u.data, Netflix's
files, JSON, Parquet, Feather, Excel; alone, packed, or in a folder. How to read them is found out where it can be."""

CONVERT_EPILOG = """\
examples:
  %(prog)s --input ratings.csv --name mine
  %(prog)s --input reviews.jsonl.gz --name books --columns user=reviewer,item=isbn,rating=stars
  %(prog)s --input ml-1m.zip --name ml-1m
  %(prog)s --input ml-100k --split u1.base,u1.test --name ml-100k-u1"""


PREDICT = """\
Predict ratings in stars for pairs of user and item, in the order of the file and beside its other columns. A pair
whose user or item is unknown stays, with what the model falls back to, and a note.
The flags about reading hold for --new_ratings too; --new_columns, --new_separator and so on are for it alone."""

PREDICT_EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.tsv --output predictions.tsv
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.csv --new_ratings newcomers.csv --output predictions.csv"""

EVALUATE = """\
RMSE and MAE of a model on a file's ratings: of all pairs, and of those whose user and item training knew."""

EVALUATE_EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --input labelled.csv
  %(prog)s --checkpoint saved/IAutoRec.pth --input labelled.csv --output scores.json"""

RECOMMEND = """\
The best items that are not among a user's training ratings, with predicted stars, and titles where the dataset had
them."""

RECOMMEND_EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --users 196,22 --topk 5
  %(prog)s --checkpoint saved/IAutoRec.pth --users all --output recommendations.csv
  %(prog)s --checkpoint saved/UAutoRec.pth --new_ratings newcomers.csv"""

EXPORT = """\
Write what a checkpoint takes to serve: predict, recommend, similar and Predictor.load take the file as they take the
checkpoint. It has neither the training ratings nor what only training needs. So it does not resume, and recommend
leaves nothing out. Ids, titles, how often each was rated, and what the model has learnt are in it: it is smaller, not
anonymous."""

EXPORT_EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --output model.pth"""

SIMILAR = """\
The items most like others: cosine of the items' codes, each less the mean."""

SIMILAR_EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --items 50 --topk 5"""


def bare_parser(verb: str, description: str, epilog: str) -> Parser:
    parser = Parser(
        prog=f"{command_line()} {verb}".strip(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"recbole_autorec {__version__}")
    return parser


def parser_for(verb: str, description: str, epilog: str) -> Parser:
    """With the flags of the verbs that train."""
    parser = bare_parser(verb, description, epilog)
    parser.add_argument(
        "--dataset", help="folder in data_path with RecBole's atomic files, or ml-100k (default), which RecBole carries"
    )
    parser.add_argument("--config_files", nargs="+", default=[], metavar="FILE", help="YAML files with parameters")
    parser.add_argument("--data_path", help="folder of the datasets (default: dataset/)")
    parser.add_argument("--seed", help="of the split, the weights and the batches (default: 2020)")
    parser.add_argument(
        "--features", nargs="?", const="True", help="let RecBole's context-aware models see the .user and .item files"
    )
    return parser


def train(argv: list[str]) -> str:
    """Train one model; the result as a table."""
    parser = parser_for("", TRAIN, TRAIN_EPILOG)
    parser.add_argument(
        "--model", help="IAutoRec (default), UAutoRec, AutoRecEnsemble, BiasedMF, Bias, GlobalMean, or one of RecBole's"
    )
    parser.add_argument("--output", metavar="DIR", help="write result.json there")
    parser.add_argument("--resume", metavar="CHECKPOINT", help="continue from a checkpoint")
    known, flags = parse(parser, argv)

    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.quick_start import run_recbole_autorec

    return_large_blocks()
    result = run_recbole_autorec(
        known.model, known.dataset, known.config_files, flags=flags, output=known.output, resume=known.resume
    )
    return report(result)


def compare(argv: list[str]) -> str:
    """Compare models; the table and where everything is."""
    parser = parser_for("compare", COMPARE, COMPARE_EPILOG)
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


def tune(argv: list[str]) -> str:
    """Search for parameters; the best, its scores and where everything is."""
    parser = parser_for("tune", TUNE, TUNE_EPILOG)
    parser.add_argument("--model", help="IAutoRec (default), UAutoRec, BiasedMF, or one of RecBole's")
    parser.add_argument("--space", metavar="FILE", help="what is searched (default: properties/hyper/MODEL.hyper)")
    parser.add_argument(
        "--engine", default="hyperopt", help="hyperopt (default), one trial at a time; or ray, with ASHA"
    )
    parser.add_argument("--algo", default="bayes", help="bayes (default), random, or exhaustive for a space of choices")
    parser.add_argument("--max_evals", help="configurations to try (default: 50; exhaustive: all)")
    parser.add_argument(
        "--time_budget", metavar="SECONDS", help="the search ends after so long; then the best is tested"
    )
    parser.add_argument(
        "--output", metavar="DIR", help="what comes out (default: results/tune-<model>-<dataset>-<time>)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the search in --output")
    parser.add_argument("--ray_address", metavar="HOST:PORT", help="a running cluster, or auto (default: this machine)")
    parser.add_argument("--cpus_per_trial", metavar="N", help="of Ray (default: 1)")
    parser.add_argument("--gpus_per_trial", metavar="N", help="of Ray, a part of one as well (default: 0)")
    parser.add_argument(
        "--storage_path", metavar="DIR", help="shared folder for Ray's checkpoints (default: none kept)"
    )
    known, flags = parse(parser, argv)

    from recbole_autorec.config.config import parse_value
    from recbole_autorec.process_memory import return_large_blocks
    from recbole_autorec.tuning.tune import tune as run

    return_large_blocks()
    numbers = {key: None if (text := getattr(known, key)) is None else parse_value(text)
               for key in ("max_evals", "time_budget", "cpus_per_trial", "gpus_per_trial")}  # fmt: skip
    tuning = run(
        known.model,
        known.dataset,
        known.space,
        engine=known.engine,
        algo=known.algo,
        config_file_list=known.config_files,
        flags=flags,
        output=known.output,
        resume=known.resume,
        ray_address=known.ray_address,
        storage_path=known.storage_path,
        **numbers,  # type: ignore[arg-type]
    )
    best = "\n".join(f"{name}: {value}" for name, value in tuning.best.items())
    files = "best.yaml, trials.csv, trials.jsonl, tuning.html, result.json"
    return f"\n{best}\n{report(tuning.result)}\n{tuning.folder}: {files}"


def predict(argv: list[str]) -> str:
    """Predict the pairs of a file."""
    parser = serving_parser("predict", PREDICT, PREDICT_EPILOG)
    parser.add_argument("--input", required=True, metavar="FILE", help="pairs of user and item; what convert reads")
    reading_flags(parser, "")
    reading_flags(parser, "new_")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import predict_file

    given = options_of(known, "")
    new = given if known.new_ratings is None else options_of(known, "new_", "")
    return predict_file(known.checkpoint, known.input, known.output, known.new_ratings, given, new)


def evaluate(argv: list[str]) -> str:
    """Score a model on ratings of a file."""
    parser = serving_parser("evaluate", EVALUATE, EVALUATE_EPILOG, new_ratings=False)
    parser.add_argument("--input", required=True, metavar="FILE", help="user, item and rating; what convert reads")
    reading_flags(parser, "")
    skip_flag(parser)
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import evaluate_file

    return evaluate_file(known.checkpoint, known.input, known.output, options_of(known, ""), known.skip_bad_lines)


def recommend(argv: list[str]) -> str:
    """Recommend items to users."""
    parser = serving_parser("recommend", RECOMMEND, RECOMMEND_EPILOG)
    parser.add_argument("--users", help="ids with commas between them, or all (default: those of --new_ratings)")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="items for each user (default: 10)")
    parser.add_argument("--candidates", metavar="FILE", help="recommend only these items: an id on each line")
    parser.add_argument("--exclude", metavar="FILE", help="never these: an id on each line, or pairs of user and item")
    reading_flags(parser, "", "--new_ratings")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import recommend_to

    return recommend_to(known.checkpoint, known.users, known.topk, known.output, known.new_ratings,
                        options_of(known, ""), known.candidates, known.exclude)  # fmt: skip


def similar(argv: list[str]) -> str:
    """Items like others."""
    parser = serving_parser("similar", SIMILAR, SIMILAR_EPILOG, new_ratings=False)
    parser.add_argument("--items", required=True, help="ids with commas between them, or all")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="items for each (default: 10)")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import similar_to

    return similar_to(known.checkpoint, known.items, known.topk, known.output)


def export(argv: list[str]) -> str:
    """Write a checkpoint without ratings."""
    parser = checkpoint_parser("export", EXPORT, EXPORT_EPILOG)
    parser.add_argument("--output", required=True, metavar="FILE", help="of the model that serves")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import export_model

    return export_model(known.checkpoint, known.output)


READING = {
    "columns": "by place, with - for others: user,item,rating,timestamp; or by name: user=NAME,item=NAME,...",
    "separator": "between fields, such as ; or tab or blanks",
    "encoding": "of text, such as cp1252 (default: utf-8)",
    "header": "whether the first line has names",
    "quotes": "whether a field may stand in double quotes",
    "decimal": "decimal sign of ratings, . or ,",
    "date_format": "of timestamps, such as '%%d/%%m/%%Y %%H:%%M'",
    "not_rated": "a rating that stands for none, such as -1: left out",
}


def reading_flags(parser: Parser, prefix: str, what: str = "the input") -> None:
    """How a file is to be read; what is not given is found out. Flags with a prefix are not listed."""
    group = parser.add_argument_group(f"how to read {what} (found out unless given)")
    for name, meaning in READING.items():
        choices = ("yes", "no") if meaning.startswith("whether") else None
        group.add_argument(
            f"--{prefix}{name}",
            help=argparse.SUPPRESS if prefix else meaning,
            choices=choices,
            metavar=None if choices else name.upper(),
        )


def options_of(known: argparse.Namespace, *prefixes: str) -> Options:
    """What the flags with the first prefix say, or those with the next."""
    given: dict[str, Any] = {}
    for name in READING:
        values = (getattr(known, prefix + name) for prefix in prefixes)
        value = next((value for value in values if value is not None), None)
        given[name] = value == "yes" if value in ("yes", "no") and name in ("header", "quotes") else value
    return Options(**given, skips="skip_bad_lines" in known, prefix=prefixes[0])


def skip_flag(parser: Parser) -> None:
    parser.add_argument(
        "--skip_bad_lines", action="store_true", help="leave out lines that are no ratings, and list them"
    )


def checkpoint_parser(verb: str, description: str, epilog: str) -> Parser:
    """With the flag of every verb that uses a checkpoint."""
    check_recbole()
    parser = bare_parser(verb, description, epilog)
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="of a trained model; no dataset is needed")
    return parser


def serving_parser(verb: str, description: str, epilog: str, new_ratings: bool = True) -> Parser:
    """With the flags of the verbs that answer from a checkpoint."""
    parser = checkpoint_parser(verb, description, epilog)
    parser.add_argument("--output", metavar="FILE", help=".tsv, .csv, .json or .jsonl (default: printed)")
    if new_ratings:
        parser.add_argument(
            "--new_ratings", metavar="FILE", help="ratings by users that training had not; for predict, or of items"
        )
    return parser


def only_known(parser: Parser, argv: list[str]) -> argparse.Namespace:
    """The flags of a verb that takes no parameters."""
    flags = list(parser._option_string_actions)
    for name in (argument.partition("=")[0] for argument in argv if argument.startswith("--")):
        if name not in flags:
            near = difflib.get_close_matches(name, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "--help has the flags."
            raise ConfigError(f"command line: unknown flag {name}; {hint}")
    return parser.parse_args(_joined(argv))


def _joined(argv: list[str]) -> list[str]:
    """Flags with values that may begin with - in one with these, since argparse takes - and -1 for flags."""
    joined: list[str] = []
    for argument in argv:
        if joined and joined[-1].removeprefix("--").removeprefix("new_") in (*READING, "users", "items"):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined


FLAG_OF_FILE = {".yaml": "--config_files", ".yml": "--config_files", ".hyper": "--space", ".pth": "--resume"}


def convert(argv: list[str]) -> str:
    """Write a dataset in RecBole's format; what is in it."""
    parser = bare_parser("convert", CONVERT, CONVERT_EPILOG)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="file, .gz, .zip or folder; or ml-1m and the like"
    )
    parser.add_argument("--name", required=True, help="of the dataset")
    parser.add_argument(
        "--data_path", default="dataset", metavar="DIR", help="folder of the datasets (default: dataset)"
    )
    parser.add_argument(
        "--split", metavar="TRAIN,TEST", help="a ready split: these files in --input; or TRAIN,VALID,TEST"
    )
    parser.add_argument("--seed", type=int, default=2020, help="of the valid part, where the split has none")
    skip_flag(parser)
    parser.add_argument("--download_url", metavar="URL", help="where MovieLens archives are (default: GroupLens)")
    reading_flags(parser, "")
    known = vars(only_known(parser, argv))
    for name in ("header", "quotes"):
        known[name] = None if known[name] is None else known[name] == "yes"

    from recbole_autorec.conversion.convert import convert as run
    from recbole_autorec.conversion.convert import report

    return "\n" + report(run(**known))


VERBS: dict[str, Callable[[list[str]], str]] = {
    verb.__name__: verb for verb in (train, compare, tune, convert, predict, evaluate, recommend, similar, export)
}


def parse(parser: Parser, argv: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """Our own flags, and every other --key value as text."""
    known, rest = parser.parse_known_args(argv)
    check_recbole()
    ours = ("data_path", "seed", "features")  # which Config reads like the others
    flags = {key: getattr(known, key) for key in ours if getattr(known, key) is not None}
    while rest:
        key, equals, value = rest.pop(0).partition("=")
        if not key.startswith("--"):
            near = [name for name in difflib.get_close_matches(key, VERBS, n=1) if name != key]
            meant = near[0] if near else f"{FLAG_OF_FILE.get(Path(key).suffix, '--key')} {key}"
            hint = "a verb comes first." if key in VERBS else f"did you mean {meant!r}?"
            raise ConfigError(f"command line: {key!r} stands alone; {hint}")
        if not equals:
            if not rest or rest[0].startswith("--"):
                raise ConfigError(f"command line: {key} has no value; give {key} VALUE, such as {key} True.")
            value = rest.pop(0)
        if flags.get(key[2:], value) != value:
            raise ConfigError(f"command line: {key} is given twice, as {flags[key[2:]]!r} and as {value!r}.")
        flags[key[2:]] = value
    for name in flags.keys() - vars(known).keys():
        near = difflib.get_close_matches(name, vars(known), n=1, cutoff=0.75)
        if near:
            from recbole_autorec.config.config import is_parameter

            if not is_parameter(name):
                raise ConfigError(f"command line: unknown flag --{name}; did you mean --{near[0]}?")
    return known, flags


def main(argv: list[str] | None = None) -> int:
    """Run the command line `argv`; the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    verb = VERBS[argv.pop(0)] if argv and argv[0] in VERBS else train
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack letters that ids and paths have
        sys.stdout.reconfigure(errors="backslashreplace" if sys.stdout.isatty() else "surrogateescape")
    if "OMP_WAIT_POLICY" not in os.environ:  # read when torch is loaded, by a verb
        # waiting threads spin for a millisecond otherwise, and take a busy machine's time from the working ones
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    try:
        with sigterm_interrupts():
            if text := verb(argv):
                print(text, flush=True)
    except BrokenPipeError:  # whoever read, head for example, has enough
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
    except OSError as error:  # a path that may not be used, or of which the system wants to know nothing
        full = error.errno == errno.ENOSPC
        if error.filename is None and not full:
            raise
        where = "the answer" if error.filename is None else f"'{os.fsdecode(error.filename)}'"
        print(f"error: {where}: {error.strerror}.", file=sys.stderr)
        if full:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer
        return 2
    except KeyboardInterrupt as interruption:
        return 143 if isinstance(interruption, Terminated) else 130
    finally:
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # all is done and said: the exit code stands
    return 0


def report(result: dict) -> str:
    """The result as a table for people."""
    import pandas as pd

    scores = {part: result[part] for part in ("valid", "test")}
    table = pd.DataFrame({part: found for part, found in scores.items() if found}).T
    table.columns = [name.upper() for name in table.columns]
    shown = "" if table.empty else f"{table.to_string(float_format='%.4f')}\n\n"
    notes = [f"no {part} score: the split has no {part} part\n" for part, found in scores.items() if not found]
    given = result["parameters"]
    if result["final"]:
        n_ratings = sum(result[f"n_{part}"] for part in ("train", *scores))
        which = "the checkpoint's model" if given.get("saved", True) else "the final model, which is not saved,"
        notes.append(
            f"{which} was trained on all {n_ratings:,} ratings and has no score of its own; these are those of the "
            "model before\n"
        )
    elsewhere = given.get("group_offset") and given.get("saved", True)
    n_cold, n_test = result["n_cold"], result["n_test"]
    cold = f"{n_cold:,} of {n_test:,} test pairs have a user or an item without training ratings\n" if n_cold else ""
    return (
        f"\n{shown}{cold}{''.join(notes)}"
        f"best epoch {result['best_epoch']} of {result['epochs_run']}, training {result['train_seconds']:.1f} s, "
        f"evaluation {result['eval_seconds']:.1f} s, peak memory {result['peak_memory_mb']} MB\n"
        f"checkpoint {result['checkpoint'] or ('of the first machine' if elsewhere else 'not saved')}"
    )
