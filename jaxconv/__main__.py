"""``python -m jaxconv``: the command line."""

import sys

from jaxconv.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
