"""`python -m syncabel`."""

from syncabel.cli import main

main()
