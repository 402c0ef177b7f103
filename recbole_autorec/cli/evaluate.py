"""Score a model on the ratings in a file."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, options_of, reading_flags, serving_parser, skip_flag

DESCRIPTION = """\
Report a model's RMSE and MAE on the ratings in a file: on all pairs, and on
those whose user and item have training ratings."""

EPILOG = """\
examples:
  %(prog)s --checkpoint m.pth --input new.csv
  %(prog)s --checkpoint m.pth --input new.csv --skip_bad_lines
  %(prog)s --checkpoint m.pth --input new.csv --output score.json"""


def run(argv: list[str]) -> str:
    parser = serving_parser("evaluate", DESCRIPTION, EPILOG, new_ratings=False)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="(required) ratings, in any format that convert reads"
    )
    reading_flags(parser, "")
    skip_flag(parser)
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import evaluate_file

    return evaluate_file(known.checkpoint, known.input, known.output, options_of(known, ""), known.skip_bad_lines)
