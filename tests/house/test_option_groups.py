"""Options said once as a dataclass, and offered by every command that has a parameter of it."""

import inspect
from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from syncabel.cli.generate import generate
from syncabel.cli.judge import judge
from syncabel.cli.option_groups import with_option_groups


@dataclass(frozen=True, slots=True)
class Oven:
    degrees: Annotated[int, typer.Option(help="How hot.")] = 180
    rack: Annotated[str, typer.Option("--rack", "-r")] = "middle"


@dataclass(frozen=True, slots=True)
class Grill(Oven):
    degrees: Annotated[int, typer.Option(help="How hot under the grill.")] = 240


def run(kind: type[Oven], *arguments: str) -> str:
    def bake(cake: Annotated[str, typer.Argument()], *, first: bool = False, oven: kind, last: int = 1) -> None:  # type: ignore[valid-type]
        print(cake, first, oven, last)

    app = typer.Typer()
    app.command()(with_option_groups(bake))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_group_reaches_the_command_as_one_value() -> None:
    assert run(Oven, "plum", "-r", "top", "--last", "3") == "plum False Oven(degrees=180, rack='top') 3\n"


def test_a_group_that_refines_another_has_its_own_defaults_and_help() -> None:
    assert run(Grill, "plum") == "plum False Grill(degrees=240, rack='middle') 1\n"
    assert "How hot under the grill." in run(Grill, "--help")


def test_the_options_stand_where_the_group_stood() -> None:
    help_ = run(Oven, "--help")
    assert sorted(("--first", "--degrees", "--rack", "--last"), key=help_.index) == ["--first", "--degrees", "--rack", "--last"]


def test_generate_and_judge_offer_the_same_engine_and_a_judge_writes_less() -> None:
    ours, judges = (inspect.signature(command).parameters for command in (generate, judge))
    names = list(ours)[list(ours).index("model") : list(ours).index("dry_run")]
    assert len(names) == 20
    assert [name for name in names if ours[name].default != judges[name].default] == ["max_tokens"]
    assert judges["max_tokens"].default < ours["max_tokens"].default
