"""Train AutoRec in RecBole: python run_recbole_autorec.py --dataset ml-100k. See --help."""

import sys

from recbole_autorec.cli import main

if __name__ == "__main__":
    sys.exit(main())
