"""The Typer application and how it ends: 0 done, 2 an error of one line, 130 interrupted.

Each command group lives in a module of its own and is put in its place here.
"""

import sys
from collections.abc import Sequence
from typing import Any

import typer

from constrained.trie import TrieError
from syncabel import __version__
from syncabel.cli import calibrate, convert, corpus, evaluate, examples, gates, generate, judge, kb, lexicon, link, plan, publish, quickstart, report, slurm
from syncabel.cli.console import err
from syncabel.errors import SyncabelError
from syncabel.progress import bars_on_terminals_only

__all__ = ["app", "main"]

INTERRUPTED = 130
RESUMED = ("generate", "judge", "quickstart")  # started again, these go on where they stopped
# A wrong option, value or command.  Newer versions of Typer carry a click of their own, so click's name for it is of no use.
UsageError: Any = typer.BadParameter.__base__

# The markup mode holds for all groups and commands under this one; with one, help would lose its `[mention]`.
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings={"max_content_width": 120}
)
app.add_typer(kb.app, name="kb")
app.add_typer(corpus.app, name="corpus")
app.add_typer(lexicon.app, name="lexicon")
app.add_typer(slurm.app, name="slurm")
app.command("generate")(generate.generate)
app.command("gates")(gates.gates)
app.command("examples")(examples.examples)
app.command("link")(link.link)
app.command("evaluate")(evaluate.evaluate)
app.command("calibrate")(calibrate.calibrate)
app.command("judge")(judge.judge)
app.command("plan")(plan.plan)
app.command("report")(report.report)
app.command("publish")(publish.publish)
app.command("convert")(convert.convert)
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
    """Run the command line; errors of the project and of its use become one line and exit code 2."""
    debug = "--debug" in sys.argv
    bars_on_terminals_only()
    try:
        status = app(standalone_mode=False)  # the number a command exits with; None where it just ends
    except UsageError as error:
        _say_usage(error)
        status = 2
    except (SyncabelError, TrieError, OSError) as error:
        if debug:
            raise
        _say(_one_line(error))
        status = 2
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:  # Typer makes a number of Ctrl-C
        err.print(f"syncabel: interrupted{_how_to_go_on(sys.argv[1:])}")
    sys.exit(status or 0)


def _say(problem: str) -> None:
    err.print(f"syncabel: error: {problem}", style="red")


def _how_to_go_on(arguments: Sequence[str]) -> str:
    command = next((word for word in arguments if not word.startswith("-")), None)
    return "; run the same command again to go on where it stopped" if command in RESUMED else ""


def _say_usage(error: Any) -> None:
    """A wrong call, in one line; one without any arguments is answered with the help, which is its message."""
    if error.ctx and error.message == error.ctx.get_help():
        err.print(error.message)
        return
    message = " ".join(error.format_message().split()).rstrip(".")
    _say(f"{message}; see `{error.ctx.command_path} --help`" if error.ctx else message)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
