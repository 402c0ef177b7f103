"""Predict ratings for the pairs in a file."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, options_of, reading_flags, serving_parser

DESCRIPTION = """\
Predict ratings in stars for user-item pairs. The output keeps the order and the other columns of the file. A pair with
an unknown user or item gets the model's fallback and a note.
The reading flags also apply to --new_ratings; --new_columns, --new_separator and so on apply to it alone."""

EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.tsv --output predictions.tsv
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.csv --new_ratings newcomers.csv --output predictions.csv"""


def run(argv: list[str]) -> str:
    parser = serving_parser("predict", DESCRIPTION, EPILOG)
    parser.add_argument("--input", required=True, metavar="FILE", help="pairs in any format that convert reads")
    reading_flags(parser, "")
    reading_flags(parser, "new_")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import predict_file

    given = options_of(known, "")
    new = given if known.new_ratings is None else options_of(known, "new_", "")
    return predict_file(known.checkpoint, known.input, known.output, known.new_ratings, given, new)
