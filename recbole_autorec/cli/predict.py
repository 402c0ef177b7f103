"""Predict ratings for the pairs in a file."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, options_of, reading_flags, serving_parser

DESCRIPTION = """\
Predict ratings in stars for user-item pairs; order and other columns stay. A
pair with an unknown user or item gets the model's fallback and a note."""

EPILOG = """\
examples:
  %(prog)s --checkpoint m.pth --input pairs.csv
  %(prog)s --checkpoint m.pth --input pairs.csv --output out.csv
  %(prog)s --checkpoint m.pth --input pairs.csv --new_ratings n.csv"""


def run(argv: list[str]) -> str:
    parser = serving_parser("predict", DESCRIPTION, EPILOG)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="(required) pairs, in any format that convert reads"
    )
    reading_flags(parser, "", "both files")
    reading_flags(parser, "new_")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import predict_file

    given = options_of(known, "")
    new = given if known.new_ratings is None else options_of(known, "new_", "")
    return predict_file(known.checkpoint, known.input, known.output, known.new_ratings, given, new)
