"""``python -m cti_framework.cli`` is ``cti``."""

import sys

from cti_framework.cli import main

if __name__ == "__main__":
    sys.exit(main())
