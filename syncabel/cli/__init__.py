"""The command line: `syncabel …`, also `python -m syncabel`."""

from syncabel.cli.app import main

__all__ = ["main"]
