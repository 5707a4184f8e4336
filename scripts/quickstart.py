"""The quickstart as a script: `python scripts/quickstart.py`.  What it does is `syncabel.quickstart.run`, read top to bottom."""

import argparse
from pathlib import Path

from syncabel.progress import bars_on_terminals_only
from syncabel.quickstart import QuickstartSettings, report_text, run

if __name__ == "__main__":
    defaults = QuickstartSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", default=defaults.prompt_format, help="prompt format: sentence, syncabel or document-first")
    parser.add_argument("--output", type=Path, default=defaults.output, help="folder to write")
    asked = parser.parse_args()
    bars_on_terminals_only()
    print(report_text(run(QuickstartSettings(prompt_format=asked.format, output=asked.output))))
