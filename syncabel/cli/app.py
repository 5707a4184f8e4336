"""The Typer application and how it ends: 0 done, 1 a check failed, 2 an error of one line, 130 interrupted.

Each command group lives in a module of its own and is put in its place here.
"""

import sys

import typer

from constrained.trie import TrieError
from syncabel import __version__
from syncabel.cli import corpus, evaluate, examples, generate, kb, lexicon, link, quickstart
from syncabel.cli.console import err
from syncabel.errors import SyncabelError

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.split("\n")[0] if __doc__ else None)
app.add_typer(kb.app, name="kb")
app.add_typer(corpus.app, name="corpus")
app.add_typer(lexicon.app, name="lexicon")
app.command("generate")(generate.generate)
app.command("examples")(examples.examples)
app.command("link")(link.link)
app.command("evaluate")(evaluate.evaluate)
app.command("quickstart")(quickstart.quickstart)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"syncabel {__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Codes out of text: fine-tune a language model to write ontology names, decode under a trie, read the code off the leaf."""


def main() -> None:
    """Run the command line; errors of the project become one line and exit code 2."""
    debug = "--debug" in sys.argv
    try:
        app()
    except (SyncabelError, TrieError, OSError) as error:
        if debug:
            raise
        err.print(f"syncabel: error: {_one_line(error)}", style="red", markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("syncabel: interrupted; run the same command again to go on where it stopped", markup=False)
        sys.exit(130)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
