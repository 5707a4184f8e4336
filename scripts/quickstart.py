"""The quickstart as a script: `python scripts/quickstart.py`.  What it does is `syncabel.quickstart.run`, read top to bottom."""

from syncabel.progress import bars_on_terminals_only
from syncabel.quickstart import QuickstartSettings, report_text, run

if __name__ == "__main__":
    bars_on_terminals_only()
    print(report_text(run(QuickstartSettings())))
