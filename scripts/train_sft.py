"""Fine-tune: `accelerate launch scripts/train_sft.py --config configs/sft/<name>.yaml`; everything is in `syncabel.train`."""

import sys

from syncabel.slurm import keep_status
from syncabel.train import main

if __name__ == "__main__":
    sys.exit(keep_status(main()))
