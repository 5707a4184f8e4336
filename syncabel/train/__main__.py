"""`python -m syncabel.train`."""

import sys

from syncabel.slurm import keep_status
from syncabel.train import main

if __name__ == "__main__":
    sys.exit(keep_status(main()))
