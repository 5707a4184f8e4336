"""`python -m syncabel.train`."""

import sys

from syncabel.train import main

if __name__ == "__main__":
    sys.exit(main())
