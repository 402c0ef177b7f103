"""Recommend items to users."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, options_of, reading_flags, serving_parser

DESCRIPTION = """\
List the best items that a user has not rated in training, with predicted stars,
and titles if the dataset has them."""

EPILOG = """\
examples:
  %(prog)s --checkpoint m.pth --users 196,22
  %(prog)s --checkpoint m.pth --users all
  %(prog)s --checkpoint m.pth --new_ratings n.csv"""


def run(argv: list[str]) -> str:
    parser = serving_parser("recommend", DESCRIPTION, EPILOG)
    parser.add_argument("--users", metavar="IDS", help="ids, or all (default: those of --new_ratings)")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="items per user (default: 10)")
    parser.add_argument("--candidates", metavar="FILE", help="recommend only these items: an id per line")
    parser.add_argument("--exclude", metavar="FILE", help="never recommend these items, or user-item pairs")
    reading_flags(parser, "", "--new_ratings")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import recommend_to

    return recommend_to(known.checkpoint, known.users, known.topk, known.output, known.new_ratings,
                        options_of(known, ""), known.candidates, known.exclude)  # fmt: skip
