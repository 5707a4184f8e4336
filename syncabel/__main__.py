"""`python -m syncabel`."""

from syncabel.cli.app import main

main()
