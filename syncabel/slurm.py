"""SLURM jobs that train: a batch script that survives time limits and preemption.

The script starts one task per node, each of which starts the node's processes.  Before the time limit, or when the job is preempted,
SLURM sends a signal to the batch shell; it hands it on to the processes, which save a checkpoint and end with status 85, and the
script puts the job back into the queue.  The next start goes on from the checkpoint.
"""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from syncabel.config_files import find_config, read_config
from syncabel.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from syncabel.train.arguments import Settings

__all__ = ["STATUS_FILE", "Job", "job_script", "keep_status", "submit"]

STATUS_FILE = "SYNCABEL_STATUS_FILE"
_WORD = re.compile(r"[\w.,:+=/@%-]+", re.ASCII)  # what sbatch reads as one word, without quotes
# What the script cannot do without, or would come apart with.
_OWN = ("array", "nodes", "no-requeue", "ntasks", "ntasks-per-node", "signal", "time")
_TIME = re.compile(r"\d+(:\d\d){0,2}|\d+-\d+(:\d\d){0,2}")


@dataclass(frozen=True, slots=True)
class Job:
    """What a job trains and what it asks the cluster for.

    Attributes:
        config: training configuration, a file or a shipped one by name; written into the script as it is given here.
        nodes: how many.
        gpus_per_node: 0 for a job on CPUs.
        processes_per_node: one a GPU where None, and 1 without GPUs.
        accelerate: configuration of accelerate, a file or a shipped one by name; None for `single-gpu`, `fsdp2` or `two-nodes` by the
            job's size, `ddp` under LoRA.
        time: limit, as sbatch has it: minutes, hours:minutes:seconds, days-hours …
        partition, account: the cluster's default where None.
        cpus_per_node: the cluster's default where None.
        sbatch: further options of sbatch, each a word like `--qos=long`.
        setup: lines of shell that every start runs first, e.g. `module load cuda`.
        flags: further arguments of the training.
        grace_s: how long before the time limit training is told to save, in seconds.
        most_requeues: starts after the first one.
        most_idle: requeues in a row without a new checkpoint.
    """

    config: str
    nodes: int = 1
    gpus_per_node: int = 8
    processes_per_node: int | None = None
    accelerate: str | None = None
    time: str = "24:00:00"
    partition: str | None = None
    account: str | None = None
    cpus_per_node: int | None = None
    sbatch: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    grace_s: int = 300
    most_requeues: int = 100
    most_idle: int = 3

    @property
    def processes(self) -> int:
        """Processes of each node."""
        return self.processes_per_node or self.gpus_per_node or 1


class _Script(Template):
    delimiter = "@"  # `$` is the shell's


_SCRIPT = _Script("""\
#!/bin/bash
# A training with syncabel, written by `syncabel slurm train`.  When its time runs out, or when it is preempted, it saves a
# checkpoint and queues itself again.
@directives
@setup
output=@output
most_requeues=@most_requeues
most_idle=@most_idle  # requeues in a row that brought no checkpoint
preempted=@preempted  # exit status of a training that saved a checkpoint because it was told to stop

step='' reminder='' interrupted=''
# USR1 for either: SLURM hands it to all processes of the step, and TERM would end their launchers, and with them the processes.
# Again and again: one that comes while a model is being loaded finds nobody to take it.
pass_on() {
  interrupted=1
  echo "syncabel: $1 received; training is told to save a checkpoint and stop" >&2
  [ -n "$step" ] && [ -z "$reminder" ] || return 0
  while kill -s USR1 "$step" 2> /dev/null && sleep 15; do :; done > /dev/null 2>&1 &
  reminder=$!
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

checkpoints() { find "$output" -maxdepth 4 -path '*/checkpoint-*/trainer_state.json' 2> /dev/null | sort; }

@accelerate
address=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((15000 + SLURM_JOB_ID % 15000))
before=$(checkpoints)

# What each node runs.  Launchers have no handler for USR1 and would die of it, so they inherit that it is ignored; the training
# puts its own in place.  Launchers also end with a status of their own, so the training leaves its status in a file.
# shellcheck disable=SC2016 # it is the node's shell that expands
task='
trap "" USR1
@status_file=$(mktemp) || exit
export @status_file
@launcher -m syncabel.train "$@@"
status=$?
if [ "$status" -ne 0 ] && [ "$(sort -u "$@status_file")" = @preempted ]; then status=@preempted; fi
rm -f "$@status_file"
exit "$status"
'
export address port accelerate TORCH_ELASTIC_SHUTDOWN_TIMEOUT=@grace_s  # torch would kill after 30 seconds whom SLURM sent TERM itself
# shellcheck disable=SC2016 # what looks like a variable in an argument is meant as it stands
srun --nodes=@nodes --ntasks=@nodes --ntasks-per-node=1 @cpus--kill-on-bad-exit=0 --wait=300 \\
  bash -c "$task" task @arguments &
step=$!
[ -z "$interrupted" ] || pass_on earlier

again=1
while [ -n "$again" ]; do  # a signal ends `wait` before the step has ended
  interrupted=''
  wait "$step"
  status=$?
  again=$interrupted
done
[ -z "$reminder" ] || kill "$reminder" 2> /dev/null
[ "$status" -eq "$preempted" ] || exit "$status"

counter=$output/requeues-$SLURM_JOB_ID
idle=0
if [ "$(checkpoints)" = "$before" ]; then
  [ -e "$counter" ] && read -r idle < "$counter"
  [[ $idle =~ ^[0-9]+$ ]] || idle=0
  idle=$((idle + 1))
fi
if [ "$idle" -gt "$most_idle" ] || [ "${SLURM_RESTART_COUNT:-0}" -ge "$most_requeues" ]; then
  echo "syncabel: not queued again: $idle starts in a row brought no checkpoint, ${SLURM_RESTART_COUNT:-0} requeues so far" >&2
  exit "$preempted"
fi
echo "$idle" > "$counter" || exit "$preempted"
echo "syncabel: a checkpoint was saved; the job is queued again and goes on from it" >&2
scontrol requeue "$SLURM_JOB_ID" || exit "$preempted"
""")
_BLANK_LINES = re.compile(r"\n{3,}")
_CONFIG_FINDER = "import sys; from syncabel.config_files import find_config; print(find_config(sys.argv[1], sys.argv[2]))"


def job_script(job: Job) -> str:
    """The batch script of a job, for `sbatch`.  Nothing of the machine that writes it is in it.

    Raises:
        UnknownNameError: there is no such configuration, or the training knows no such argument.
        ConfigError: a number or a word that sbatch would not take, a line break in an argument, no output_dir, settings under
            which a requeued job would begin anew or which the training would refuse, or an accelerate configuration of another size.
        MissingExtraError: the training, which is asked about its arguments, is not installed.
    """
    _check(job)
    output, settings = _output(job), _settings(job)
    from syncabel.train import PREEMPTED

    script = _SCRIPT.substitute(
        directives=_directives(job),
        setup="".join(f"\n{line}\n" for line in job.setup),
        output=shlex.quote(output),
        most_requeues=job.most_requeues,
        most_idle=job.most_idle,
        preempted=PREEMPTED,
        accelerate=_accelerate(job, settings),
        status_file=STATUS_FILE,
        launcher=_launcher(job),
        nodes=job.nodes,
        grace_s=job.grace_s,
        cpus="" if job.cpus_per_node is None else f"--cpus-per-task={job.cpus_per_node} ",
        arguments=shlex.join(_arguments(job)),
    )
    return _BLANK_LINES.sub("\n\n", script)


def _check(job: Job) -> None:
    for name, least in (
        ("nodes", 1),
        ("gpus_per_node", 0),
        ("processes_per_node", 1),
        ("cpus_per_node", 1),
        ("grace_s", 1),
        ("most_requeues", 0),
        ("most_idle", 0),
    ):
        value = getattr(job, name)
        if value is not None and value < least:
            raise ConfigError(f"{name} is {value}; give {least} or more")
    if not _TIME.fullmatch(job.time):
        raise ConfigError(f"time is {job.time!r}; give minutes, hours:minutes:seconds or days-hours:minutes:seconds")
    for name, word in (("partition", job.partition), ("account", job.account), *(("sbatch", option) for option in job.sbatch)):
        if word is not None and (not _WORD.fullmatch(word) or word.startswith("-") != (name == "sbatch")):
            wanted = "an option of sbatch in one word, e.g. --qos=long" if name == "sbatch" else "its name"
            raise ConfigError(f"{name} is {word!r}; give {wanted}")
        if name == "sbatch" and word is not None and (option := word.lstrip("-").partition("=")[0]) in _OWN:
            raise ConfigError(f"sbatch is {word!r}, and the script sets or forbids {option}; leave it out, and see the job's own settings")
    if not job.gpus_per_node and job.accelerate is not None:
        raise ConfigError(f"accelerate is {job.accelerate!r}, and without GPUs torchrun starts the processes; leave it out")
    if _seconds(job.time) <= job.grace_s:
        raise ConfigError(f"time is {job.time}, {_seconds(job.time)} s, and grace_s {job.grace_s}: training would be told to stop at once; give more time")
    for text in (job.config, job.accelerate or "", *job.flags, *job.setup):
        if not text.isprintable() and any(c < " " or c == "\x7f" for c in text):
            raise ConfigError(f"{text!r} holds a line break or another control character; give it without, --setup once for each line")
    _check_shell(job.setup)


def _seconds(time: str) -> int:
    """A time limit as sbatch reads it: `24:00` is 24 minutes."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    hours, minutes, seconds = [*parts, 0, 0][:3] if dash or len(parts) == 3 else [0, *parts, 0][:3]
    return int(days or 0) * 86_400 + hours * 3_600 + minutes * 60 + seconds


def _check_shell(lines: Sequence[str]) -> None:
    """Refuse setup lines that would leave a quote or a block open, for what follows them would be swallowed."""
    shell = shutil.which("bash")
    if not lines or shell is None:
        return
    done = subprocess.run([shell, "-n"], input="\n".join(lines), capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise ConfigError(f"setup is no shell that stands alone: {' '.join(done.stderr.split())}")


def _directives(job: Job) -> str:
    name = re.sub(r"[^\w.-]", "-", Path(job.config).stem, flags=re.ASCII)
    options = [f"--job-name=syncabel-{name}", f"--nodes={job.nodes}", "--ntasks-per-node=1"]
    given = {"gpus-per-node": job.gpus_per_node or None, "cpus-per-task": job.cpus_per_node, "partition": job.partition, "account": job.account}
    options += [f"--{option}={value}" for option, value in given.items() if value is not None]
    options += [f"--time={job.time}", f"--signal=B:USR1@{job.grace_s}", "--requeue", "--open-mode=append", *job.sbatch]
    return "\n".join(f"#SBATCH {option}" for option in options)


def _settings(job: Job) -> "Settings":
    """What the training makes of its arguments; what it would refuse is refused before the job waits for its turn.

    Its data and its model need not be on this machine.
    """
    try:
        from syncabel.train.layout import PLACES, settings_of
    except ImportError as error:
        raise MissingExtraError("train", str(error.name)) from None
    written, flags = read_config(find_config(job.config, "sft")), [flag for flag in _arguments(job)[2:] if flag != "--debug"]
    return settings_of(written, job.config, flags, {name: place for name in PLACES if (place := _given(flags, name) or written.get(name))})


def _accelerate(job: Job, settings: "Settings") -> str:
    """The line that finds accelerate's configuration where the job runs."""
    from syncabel.train.plan import accelerate_for, check_accelerate

    if not job.gpus_per_node:
        return "accelerate=''"
    model, name = settings.model, job.accelerate or accelerate_for(job.nodes, job.processes, settings.model.use_peft)
    path = find_config(name, "accelerate")
    check_accelerate(name, read_config(path), job.nodes * job.processes, model.load_in_4bit or model.load_in_8bit)
    if path == Path(name):
        return f"accelerate={shlex.quote(name)}"
    return f"accelerate=$(python -c {shlex.quote(_CONFIG_FINDER)} {shlex.quote(name)} accelerate) || exit"


def _launcher(job: Job) -> str:
    """What starts a node's processes; torchrun where there are no GPUs, for `accelerate launch --cpu` starts a single one."""
    if job.gpus_per_node:
        size = f"--num_machines {job.nodes} --num_processes {job.nodes * job.processes}"
        place = '--machine_rank "$SLURM_NODEID" --main_process_ip "$address" --main_process_port "$port"'
        return f'accelerate launch --config_file "$accelerate" {size} {place}'
    return f'torchrun --nnodes {job.nodes} --nproc-per-node {job.processes} --node-rank "$SLURM_NODEID" --master-addr "$address" --master-port "$port"'


def _arguments(job: Job) -> list[str]:
    on_cpu = [] if job.gpus_per_node or _given(job.flags, "use_cpu") is not None else ["--use_cpu", "true"]
    return ["--config", job.config, *on_cpu, *job.flags]


def _output(job: Job) -> str:
    """Where the training's checkpoints will be.

    Raises:
        ConfigError: nowhere, or a requeued job would not go on from them.
    """
    config = read_config(find_config(job.config, "sft"))
    resume = _given(job.flags, "resume")
    if config.get("resume") is False if resume is None else resume.lower() in ("false", "no", "0", "f", "n"):
        raise ConfigError("resume is false: each start of the job would begin anew; leave it out")
    output = str(_given(job.flags, "output_dir") or config.get("output_dir") or "")
    if not output:
        raise ConfigError(f"{job.config}: no output_dir; give one, e.g. with `-- --output_dir runs/one`")
    return f"./{output}" if output.startswith("-") else output


def _given(flags: Sequence[str], name: str) -> str | None:
    """The value of a flag, the last one where it is given several times; None where it is not."""
    value, spellings = None, (f"--{name}", f"--{name.replace('_', '-')}")
    for i, flag in enumerate(flags):
        key, equals, rest = flag.partition("=")
        if key in spellings:
            value = rest if equals else next(iter(flags[i + 1 : i + 2]), "")
    return value


def submit(script: str) -> str:
    """Hand a script to SLURM.

    Returns:
        The job's number.

    Raises:
        ConfigError: there is no sbatch here, or it refuses the script.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError("there is no sbatch on this machine; run the command on the cluster, or write the script with -o and submit it there")
    done = subprocess.run(["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"sbatch refused the script: {' '.join(done.stderr.split())}")
    return done.stdout.strip().split(";")[0]  # a federation adds the cluster's name


def keep_status(status: int) -> int:
    """Leave an exit status where the batch script looks for it, for launchers end with one of their own.

    Args:
        status: of a training.

    Returns:
        The same.
    """
    if place := os.environ.get(STATUS_FILE):
        with open(place, "a", encoding="ascii") as lines:
            lines.write(f"{status}\n")
    return status
