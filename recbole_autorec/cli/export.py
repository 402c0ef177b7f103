"""Export a checkpoint without its ratings."""

from __future__ import annotations

from recbole_autorec.cli.flags import checkpoint_parser, only_known

DESCRIPTION = """\
Export what serving needs: predict, evaluate, recommend, similar, Predictor.load
accept the file in place of the checkpoint. It leaves out the training ratings
and all else that only training needs, so it cannot resume training, and
recommend does not leave out rated items. It still has ids, titles, rating
counts and learnt weights: it is smaller, not anonymous."""

EPILOG = """\
examples:
  %(prog)s --checkpoint saved/i.pth --output i.pth
  %(prog)s --checkpoint saved/u.pth --output u.pth --quiet
  %(prog)s --checkpoint saved/m.pth --output served/m.pth"""


def run(argv: list[str]) -> str:
    parser = checkpoint_parser("export", DESCRIPTION, EPILOG)
    parser.add_argument("--output", required=True, metavar="FILE", help="(required) file to write")
    known = only_known(parser, argv)

    from recbole_autorec.serving.batch import export_model

    return export_model(known.checkpoint, known.output)
