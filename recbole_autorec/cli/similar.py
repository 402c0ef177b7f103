"""Items like others."""

from __future__ import annotations

from recbole_autorec.cli.flags import only_known, serving_parser

DESCRIPTION = """\
The items most like others: cosine of the items' codes, each less the mean."""

EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --items 50 --topk 5"""


def run(argv: list[str]) -> str:
    parser = serving_parser("similar", DESCRIPTION, EPILOG, new_ratings=False)
    parser.add_argument("--items", required=True, metavar="IDS", help="ids with commas between them, or all")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="items for each (default: 10)")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import similar_to

    return similar_to(known.checkpoint, known.items, known.topk, known.output)
