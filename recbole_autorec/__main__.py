"""The command line: python -m recbole_autorec. See --help."""

import sys

from recbole_autorec.cli import main

if __name__ == "__main__":
    sys.exit(main())
