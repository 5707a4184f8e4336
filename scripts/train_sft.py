"""Fine-tune: `accelerate launch scripts/train_sft.py --config configs/sft/<name>.yaml`; everything is in `syncabel.train`."""

import sys

from syncabel.train import main

if __name__ == "__main__":
    sys.exit(main())
