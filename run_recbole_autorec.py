"""Train AutoRec in RecBole: python run_recbole_autorec.py --dataset ml-100k. See --help."""

import sys

if not (3, 10) <= sys.version_info < (3, 12):
    sys.exit(
        "recbole_autorec needs Python 3.10 or 3.11 (RecBole 1.2.1 runs on no later one); this is "
        + sys.version.split()[0]
    )

from recbole_autorec.cli import main

if __name__ == "__main__":
    sys.exit(main())
