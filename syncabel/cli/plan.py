"""`syncabel plan`: what a training will need and take, before anything starts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from rich.table import Table

from syncabel.cli.console import out, print_json
from syncabel.config_files import find_config, read_config, shipped_configs
from syncabel.errors import ConfigError, MissingExtraError, UnknownNameError
from syncabel.train.plan import GPUS, Plan, accelerate_for, check_accelerate, make_plan, recipe_of, sharding_of
from syncabel.train.shapes import Shape, read_shape

if TYPE_CHECKING:
    from syncabel.train.arguments import Settings

__all__ = ["plan"]

GB = 1e9
WHAT = {
    "weights": "weights",
    "casts": "16-bit copies of float32 weights",
    "adapter": "adapter",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "exchange": "exchange between GPUs",
    "activations": "activations",
    "loss": "logits and loss",
    "margin": "margin (assumed)",
}


def plan(
    config: Annotated[str, typer.Option(help=f"Training configuration: a file, or one of {', '.join(shipped_configs('sft'))}.", show_default=False)],
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each node.")] = 1,
    gpu: Annotated[str, typer.Option(help=f"Their kind: {', '.join(GPUS)}.")] = "h100",
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    accelerate: Annotated[
        str | None,
        typer.Option(
            help=f"Configuration of accelerate: a file, or one of {', '.join(shipped_configs('accelerate'))}; "
            "where not given, the one that `syncabel slurm train` takes.",
            show_default=False,
        ),
    ] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Tokens that the run reads, all epochs together; else counted where the data is there.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Setting in place of the configuration's; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of the table.")] = False,
) -> None:
    """Print the memory of a GPU by part, tokens per second and hours of a training, without a model; exit code 3 where it does not fit.

    Where the prepared data is there and --tokens is not given, the data is tokenised as the training would, and kept for it in `tokens/` beside the data.
    """
    if gpu not in GPUS:
        raise UnknownNameError("GPU", gpu, GPUS)
    written, settings = _settled(find_config(config, "sft"), _changed(changes or []))
    shape, processes = _shape(settings), gpus * nodes
    recipe = recipe_of(written, shape)
    name = accelerate or accelerate_for(nodes, gpus, recipe.adapter is not None)
    started = read_config(find_config(name, "accelerate"))
    check_accelerate(name, started, processes, bool(recipe.bits))
    sharding = sharding_of(started, processes)
    run = {"tokens": tokens} if tokens is not None else _counted(settings, written, processes)
    if not run and (steps := settings.sft.max_steps) > 0:
        run = {"steps": steps, "tokens": steps * recipe.row_tokens * recipe.accumulation * processes}
    made = make_plan(shape, recipe, sharding, GPUS[gpu], nodes=nodes, accelerate=name, **run)
    if as_json:
        print_json(made.as_json())
    else:
        _show(_pairs(made, chosen=accelerate is None))
    if not made.fits:
        raise typer.Exit(3)


def _settled(path: Path, changed: Mapping[str, Any]) -> tuple[dict[str, Any], "Settings"]:
    """A configuration with what is changed of it: as written, and as the training would read it."""
    try:
        from syncabel.train.layout import PLACES, settings_of
    except ImportError as error:
        raise MissingExtraError("train", str(error.name)) from None
    written, where = {**read_config(path), **changed}, f"{path} with --set" if changed else str(path)
    absent = {name: place for name in PLACES if (place := written.get(name)) and not Path(str(place)).exists()}
    return written, settings_of(written, where, elsewhere=absent)


def _changed(changes: list[str]) -> dict[str, Any]:
    values = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise ConfigError(f"--set {change}: write KEY=VALUE")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {change}: the value is no YAML; close its brackets, or put text in quotes") from None
    return values


def _shape(settings: "Settings") -> Shape:
    """Of the pretrained model, or of the random one that the configuration describes."""
    own = settings.own
    if own.init != "random":
        return read_shape(str(settings.model.model_name_or_path))
    hidden, heads = own.hidden_size, own.num_heads
    return Shape(own.num_layers, hidden, own.intermediate_size, heads, heads, hidden // heads, _vocabulary(own.tokenizer), tied=True)


def _vocabulary(folder: Any) -> int:
    from tokenizers import Tokenizer

    path = Path(str(folder)) / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"tokenizer: there is no {path}, and the size of a random model depends on its vocabulary; make the data first")
    return int(Tokenizer.from_file(str(path)).get_vocab_size())


def _counted(settings: "Settings", written: Mapping[str, Any], processes: int) -> dict[str, Any]:
    """Steps, tokens and the share that has loss, where the prepared data lies there; empty where it does not."""
    from syncabel.train.layout import count_run

    named = [written.get(name) for name in ("lexicon", "human_examples", "synthetic_examples", "names_examples")]
    if not all(Path(str(place)).exists() for place in named if place):
        return {}
    counts = count_run(settings, processes)
    return {"steps": counts.steps, "tokens": counts.tokens, "loss_share": counts.loss_tokens / counts.tokens}


def _show(pairs: Mapping[str, str]) -> None:
    """A table on a terminal; elsewhere one line each, name and value with a tab between them."""
    if not out.is_terminal:
        typer.echo("\n".join(f"{name}\t{value}" for name, value in pairs.items()))
        return
    table = Table.grid(padding=(0, 2))
    for name, value in pairs.items():
        table.add_row(name, value)
    out.print(table)


def _pairs(made: Plan, *, chosen: bool) -> dict[str, str]:
    memory, gpu, speed, hours = made.memory, made.gpu, made.tokens_per_second, made.hours
    how = {"none": "one GPU", "ddp": "DDP", "fsdp": "FSDP2"}[made.sharding.kind] + (", offloaded" if made.sharding.offload else "")
    pairs = {
        "parameters": f"{made.parameters:,}, trained {made.trained:,}",
        "processes": f"{made.sharding.processes} × {gpu.name} on {made.nodes} {'node' if made.nodes == 1 else 'nodes'}, {how}",
        "accelerate": f"{made.accelerate}{', as `syncabel slurm train` takes' if chosen else ''}",
    }
    pairs |= {WHAT[name]: f"{value / GB:.2f} GB" for name, value in memory.parts.items() if value}
    pairs["sum"] = f"{memory.total / GB:.2f} GB of {gpu.memory / GB:.2f} GB a GPU: {'fits' if made.fits else 'does not fit'}"
    if memory.host:
        pairs["machine memory"] = f"{memory.host / GB:.2f} GB of a node, over its processes"
    if not made.fits:
        pairs["would fit, each by itself"] = "; ".join(made.advice) or "nothing that is tried here: take more or larger GPUs"
    pairs["work"] = f"{made.flops / 1e9:.2f} GFLOP a token, at most {made.tokens_per_step:,} tokens a step"
    pairs["tokens/s"] = f"{speed['low']:,.0f} to {speed['high']:,.0f} at 33 to 39 % of peak, {speed['goal']:,.0f} at 45 % (shares assumed, of 8B models)"
    if hours is None:
        return pairs | {"hours": "not known: give --tokens, or make the data first"}
    processes = made.sharding.processes
    return pairs | {
        "steps": f"{made.steps:,}, {made.tokens:,} tokens",
        "hours": f"{hours['high']:.2f} to {hours['low']:.2f}, {hours['goal']:.2f} at 45 %",
        "GPU-hours": f"{hours['high'] * processes:.2f} to {hours['low'] * processes:.2f}, {hours['goal'] * processes:.2f} at 45 %",
    }
