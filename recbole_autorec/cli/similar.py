"""List similar items."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, serving_parser

DESCRIPTION = """\
List the items most similar to given ones, by the cosine of their codes, each
less the mean code."""

EPILOG = """\
examples:
  %(prog)s --checkpoint m.pth --items 50
  %(prog)s --checkpoint m.pth --items 50,172 --topk 3
  %(prog)s --checkpoint m.pth --items all --output s.csv"""


def run(argv: list[str]) -> str:
    parser = serving_parser("similar", DESCRIPTION, EPILOG, new_ratings=False)
    parser.add_argument("--items", required=True, metavar="IDS", help="(required) comma-separated ids, or all")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="similar items per item (default: 10)")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import similar_to

    return similar_to(known.checkpoint, known.items, known.topk, known.output)
