"""Write a checkpoint without ratings."""

from __future__ import annotations

from recbole_autorec.cli.flags import checkpoint_parser, only_known

DESCRIPTION = """\
Write what a checkpoint takes to serve: predict, recommend, similar and Predictor.load take the file as they take the
checkpoint. It has neither the training ratings nor what only training needs. So it does not resume, and recommend
leaves nothing out. Ids, titles, how often each was rated, and what the model has learnt are in it: it is smaller, not
anonymous."""

EPILOG = """\
examples:
  %(prog)s --checkpoint saved/IAutoRec.pth --output model.pth"""


def run(argv: list[str]) -> str:
    parser = checkpoint_parser("export", DESCRIPTION, EPILOG)
    parser.add_argument("--output", required=True, metavar="FILE", help="of the model that serves")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import export_model

    return export_model(known.checkpoint, known.output)
