"""Write a dataset in RecBole's format and summarise it."""

from __future__ import annotations

from recbole_autorec.cli.flags import READING, bare_parser, only_known, options_of, reading_flags, skip_flag

DESCRIPTION = """\
Convert ratings to RecBole's format: csv and similar text, GroupLens's and
Netflix's files, JSON, Parquet, Feather, Excel; a file, an archive or a folder."""

EPILOG = """\
examples:
  %(prog)s --input ratings.csv --name mine
  %(prog)s --input ml-1m.zip --name ml-1m
  %(prog)s --input b.json --name b --columns user=u"""


def run(argv: list[str]) -> str:
    parser = bare_parser("convert", DESCRIPTION, EPILOG)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="(required) or a folder; ml-1m and so on download"
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="(required) of the dataset")
    parser.add_argument(
        "--data_path", default="dataset", metavar="DIR", help="folder of the datasets (default: dataset)"
    )
    parser.add_argument("--split", metavar="FILES", help="predefined: TRAIN,TEST or TRAIN,VALID,TEST in --input")
    parser.add_argument(
        "--seed", type=int, default=2020, metavar="N", help="of the validation part, if --split names none"
    )
    skip_flag(parser)
    parser.add_argument("--download_url", metavar="URL", help="of MovieLens archives (default: GroupLens)")
    reading_flags(parser, "")
    known = only_known(parser, argv)
    options = options_of(known, "")

    from recbole_autorec.conversion.convert import convert as run
    from recbole_autorec.conversion.convert import report

    return "\n" + report(run(**vars(known) | {name: getattr(options, name) for name in READING}))
