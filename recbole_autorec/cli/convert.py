"""Write a dataset in RecBole's format and summarise it."""

from __future__ import annotations

from recbole_autorec.cli.flags import READING, bare_parser, only_known, options_of, reading_flags, skip_flag

DESCRIPTION = """\
Convert ratings to RecBole's format in --data_path: from csv and similar text, GroupLens's .dat and u.data, Netflix's
files, JSON, Parquet, Feather, Excel; a file, an archive or a folder. The layout is detected where possible."""

EPILOG = """\
examples:
  %(prog)s --input ratings.csv --name mine
  %(prog)s --input reviews.jsonl.gz --name books --columns user=reviewer,item=isbn,rating=stars
  %(prog)s --input ml-1m.zip --name ml-1m
  %(prog)s --input ml-100k --split u1.base,u1.test --name ml-100k-u1"""


def run(argv: list[str]) -> str:
    parser = bare_parser("convert", DESCRIPTION, EPILOG)
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="file, .gz, .zip or folder; or a MovieLens archive such as ml-1m"
    )
    parser.add_argument("--name", required=True, help="name of the dataset")
    parser.add_argument(
        "--data_path", default="dataset", metavar="DIR", help="folder that holds the datasets (default: dataset)"
    )
    parser.add_argument(
        "--split", metavar="TRAIN,TEST", help="predefined split: these files in --input; or TRAIN,VALID,TEST"
    )
    parser.add_argument("--seed", type=int, default=2020, help="seed of the valid part, if --split names none")
    skip_flag(parser)
    parser.add_argument("--download_url", metavar="URL", help="base URL of the MovieLens archives (default: GroupLens)")
    reading_flags(parser, "")
    known = only_known(parser, argv)
    options = options_of(known, "")

    from recbole_autorec.conversion.convert import convert as run
    from recbole_autorec.conversion.convert import report

    return "\n" + report(run(**vars(known) | {name: getattr(options, name) for name in READING}))
