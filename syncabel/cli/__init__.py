"""The command line, one module per command group; `app` puts them together, `main` begins."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line.  What it needs is imported here, for that takes a second in which Ctrl-C may come, too."""
    try:
        from syncabel.cli.app import main as run
    except KeyboardInterrupt:
        print("syncabel: interrupted", file=sys.stderr)
        sys.exit(130)
    run()
