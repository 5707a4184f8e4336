"""`syncabel slurm`: jobs for a cluster."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from syncabel.cli.console import err, out
from syncabel.config_files import shipped_configs
from syncabel.slurm import Job, job_script, submit

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Jobs for a SLURM cluster.")


@app.callback()
def root() -> None:
    """Jobs for a SLURM cluster."""


@app.command()
def train(
    config: Annotated[str, typer.Option(help=f"Training configuration: a file, or one of {', '.join(shipped_configs('sft'))}.", show_default=False)],
    flags: Annotated[list[str] | None, typer.Argument(help="Further arguments of the training, after `--`; it is asked whether it takes them.")] = None,
    nodes: Annotated[int, typer.Option(help="Nodes.")] = 1,
    gpus_per_node: Annotated[int, typer.Option("--gpus-per-node", "--gpus", help="GPUs of each node; 0 for a job on CPUs.")] = 8,
    processes_per_node: Annotated[int | None, typer.Option(help="Processes of each node; one a GPU where not given.", show_default=False)] = None,
    accelerate: Annotated[
        str | None,
        typer.Option(
            help=f"Configuration of accelerate: a file, or one of {', '.join(shipped_configs('accelerate'))}; "
            "where not given, single-gpu, fsdp2 or two-nodes by the job's size, ddp under LoRA.",
            show_default=False,
        ),
    ] = None,
    time: Annotated[str, typer.Option(help="Time limit, as sbatch has it; the job queues itself again when it is over.")] = "24:00:00",
    partition: Annotated[str | None, typer.Option(help="Partition.")] = None,
    account: Annotated[str | None, typer.Option(help="Account.")] = None,
    cpus_per_node: Annotated[int | None, typer.Option(help="CPU cores of each node; the cluster's default where not given.")] = None,
    sbatch: Annotated[
        list[str] | None, typer.Option(metavar="--NAME=VALUE", help="Further option of sbatch, e.g. --sbatch=--qos=long; repeat for several.")
    ] = None,
    setup: Annotated[
        list[str] | None, typer.Option(metavar="SHELL", help="Line of shell that the job runs first, e.g. 'module load cuda'; repeat for several.")
    ] = None,
    grace: Annotated[int, typer.Option(help="Seconds before the time limit at which training saves and stops.")] = 300,
    max_requeues: Annotated[int, typer.Option(help="Most starts after the first.")] = 100,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write the script to; printed where not given.")] = None,
    send: Annotated[bool, typer.Option("--submit", help="Submit it with sbatch and print the job's number.")] = False,
) -> None:
    """Write a batch script that trains, saves when its time is up or it is preempted, and queues itself again."""
    job = Job(
        config,
        nodes,
        gpus_per_node,
        processes_per_node,
        accelerate,
        time,
        partition,
        account,
        cpus_per_node,
        tuple(sbatch or ()),
        tuple(setup or ()),
        tuple(flags or ()),
        grace,
        max_requeues,
    )
    script = job_script(job)
    if output is not None:
        output.write_text(script, encoding="utf-8")
        err.print(f"→ {output}")
    if send:
        out.print(submit(script))
    elif output is None:
        sys.stdout.write(script)
