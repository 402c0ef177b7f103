"""Predict the pairs of a file."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, options_of, reading_flags, serving_parser

DESCRIPTION = """\
Predict ratings in stars for pairs of user and item, in the order of the file and beside its other columns. A pair
whose user or item is unknown stays, with what the model falls back to, and a note.
The flags about reading hold for --new_ratings too; --new_columns, --new_separator and so on are for it alone."""

EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.tsv --output predictions.tsv
  %(prog)s --checkpoint saved/IAutoRec.pth --input pairs.csv --new_ratings newcomers.csv --output predictions.csv"""


def run(argv: list[str]) -> str:
    parser = serving_parser("predict", DESCRIPTION, EPILOG)
    parser.add_argument("--input", required=True, metavar="FILE", help="pairs of user and item; what convert reads")
    reading_flags(parser, "")
    reading_flags(parser, "new_")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import predict_file

    given = options_of(known, "")
    new = given if known.new_ratings is None else options_of(known, "new_", "")
    return predict_file(known.checkpoint, known.input, known.output, known.new_ratings, given, new)
