"""The batch script as a shell runs it: with little executables in the place of SLURM's, which write down what they are given."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from syncabel.errors import ConfigError, UnknownNameError
from syncabel.slurm import STATUS_FILE, Job, job_script, keep_status, submit

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

PLACE = os.fsencode(Path(__file__).resolve().parents[2])
# What stands in for SLURM: each call appends its name and arguments, NUL between them, to a file.
NOTE = 'printf "%s\\0" "$(basename "$0")" "$@" >> "$NOTES"; printf "\\0\\n\\0" >> "$NOTES"\n'
SRUN_RUNS_IT = 'while [ "${1#--}" != "$1" ]; do shift; done; export SLURM_NODEID=1; exec "$@"\n'


class Cluster:
    """A folder that is first in PATH, and what was called from it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes, self.job = folder / "bin", folder / "notes", folder / "job"
        self.folder.mkdir()
        self.job.mkdir()
        self.program("scontrol", 'case $1 in show) printf "node7\\nnode8\\n";; esac\n')

    def program(self, name: str, code: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/bash\n{NOTE}{code}", encoding="utf-8")
        path.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        slurm = {"SLURM_JOB_ID": "123", "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2"}
        return {**os.environ, **slurm, "PATH": path, "NOTES": str(self.notes), "PYTHONPATH": os.fsdecode(PLACE)}

    def start(self, script: str, **more: str) -> subprocess.Popen[str]:
        environment = {**self.environment, **more}
        return subprocess.Popen(["bash", "-c", script], cwd=self.job, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, script: str, **more: str) -> tuple[int, str]:
        process = self.start(script, **more)
        _, said = process.communicate(timeout=60)
        return process.returncode, said

    def calls(self, name: str) -> list[list[str]]:
        if not self.notes.exists():
            return []
        calls = [call.split("\0") for call in self.notes.read_text(encoding="utf-8").removesuffix("\0\0\n\0").split("\0\0\n\0")]
        return [arguments for program, *arguments in calls if program == name]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


# What a training needs at least; its files need not be where the script is written.
LEAST = "init: random\ntokenizer: there/tokenizer\nlexicon: there/lexicon\nhuman_examples: there/human.jsonl\n"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "a config.yaml"
    path.write_text(f"{LEAST}output_dir: runs/one\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def write(config: str) -> Callable[..., str]:
    def make(**named: object) -> str:
        return job_script(Job(config, **{"gpus_per_node": 0, **named}))  # type: ignore[arg-type]

    return make


def ends_with(status: int, checkpoint: bool = False, folder: str = "runs/one") -> str:
    """An srun that ends with a status, and with a new checkpoint each time where that is asked for."""
    save = f'place={folder}/checkpoint-$RANDOM$RANDOM; mkdir "$place"; touch "$place/trainer_state.json"\n' if checkpoint else ""
    return f"mkdir -p {folder}\n{save}exit {status}\n"


ANY_ARGUMENT = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    ["", " ", "'", '"', "$HOME", "$(touch x)", "`id`", "\\", "a'b\"c", "*", "~", "#", "!x", "&", ";", "-", "--", "é 文", "{a,b}", "@nodes", "@@"]
)


@given(st.lists(ANY_ARGUMENT.map("--run_name={}".format), max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_odd_arguments_reach_the_training_as_they_are(cluster: Cluster, config: str, flags: list[str]) -> None:
    cluster.notes.unlink(missing_ok=True)
    cluster.program("srun", SRUN_RUNS_IT)
    cluster.program("accelerate", "")
    script = job_script(Job(config, nodes=2, flags=("--output_dir", "x", *flags)))
    status, said = cluster.run(script)
    assert (status, said) == (0, "")
    (call,) = cluster.calls("accelerate")
    assert call[call.index("-m") :] == ["-m", "syncabel.train", "--config", config, "--output_dir", "x", *flags]
    assert not list(cluster.job.iterdir())


def test_every_node_is_told_its_rank_and_where_the_first_one_is(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", SRUN_RUNS_IT)
    cluster.program("accelerate", "")
    assert cluster.run(write(nodes=2, gpus_per_node=4))[0] == 0
    (call,) = cluster.calls("accelerate")
    assert call[0] == "launch"
    named = dict(zip(call[1 : call.index("-m") : 2], call[2 : call.index("-m") : 2], strict=True))
    assert Path(named.pop("--config_file")).name == "two-nodes.yaml"
    expected = {"--num_machines": "2", "--num_processes": "8", "--machine_rank": "1", "--main_process_ip": "node7", "--main_process_port": "15123"}
    assert named == expected
    (srun,) = cluster.calls("srun")
    assert srun[:3] == ["--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert cluster.calls("scontrol") == [["show", "hostnames", "node[7-8]"]]


def test_without_gpus_torchrun_starts_the_processes(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", SRUN_RUNS_IT)
    cluster.program("torchrun", "")
    assert cluster.run(write(nodes=2, gpus_per_node=0, processes_per_node=3))[0] == 0
    (call,) = cluster.calls("torchrun")
    place = ["--node-rank", "1", "--master-addr", "node7", "--master-port", "15123"]
    assert call[: call.index("-m")] == ["--nnodes", "2", "--nproc-per-node", "3", *place]
    assert call[-2:] == ["--use_cpu", "true"]


def test_a_saved_checkpoint_is_one_requeue(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", ends_with(85, checkpoint=True))
    status, said = cluster.run(write())
    assert status == 0
    assert cluster.calls("scontrol")[1:] == [["requeue", "123"]]
    assert "queued again" in said


@pytest.mark.parametrize("status", [0, 1, 2, 84, 130, 137, 143])
def test_every_other_status_is_handed_on_and_nothing_is_requeued(cluster: Cluster, write: Callable[..., str], status: int) -> None:
    cluster.program("srun", ends_with(status, checkpoint=True))
    assert cluster.run(write()) == (status, "")
    assert cluster.calls("scontrol") == [["show", "hostnames", "node[7-8]"]]


def test_starts_without_a_new_checkpoint_come_to_an_end(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", ends_with(85))
    statuses = [cluster.run(write(most_idle=2))[0] for _ in range(4)]
    assert statuses == [0, 0, 85, 85]
    assert cluster.calls("scontrol").count(["requeue", "123"]) == 2


def test_a_new_checkpoint_starts_the_count_again(cluster: Cluster, write: Callable[..., str]) -> None:
    statuses = []
    for checkpoint in (False, False, True, False, False, False):
        cluster.program("srun", ends_with(85, checkpoint))
        statuses.append(cluster.run(write(most_idle=2))[0])
    assert statuses == [0, 0, 0, 0, 0, 85]


def test_checkpoints_of_several_seeds_count(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", ends_with(85, checkpoint=True, folder="runs/one/seed-3"))
    assert cluster.run(write(most_idle=0))[0] == 0


def test_requeues_have_an_upper_limit(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", ends_with(85, checkpoint=True))
    assert cluster.run(write(most_requeues=4), SLURM_RESTART_COUNT="3")[0] == 0
    assert cluster.run(write(most_requeues=4), SLURM_RESTART_COUNT="4")[0] == 85
    assert cluster.calls("scontrol").count(["requeue", "123"]) == 1


def test_a_refused_requeue_is_no_success(cluster: Cluster, write: Callable[..., str]) -> None:
    cluster.program("srun", ends_with(85, checkpoint=True))
    cluster.program("scontrol", 'case $1 in requeue) echo "scontrol: not permitted" >&2; exit 1;; *) echo node7;; esac\n')
    status, said = cluster.run(write())
    assert status == 85
    assert "not permitted" in said


# An srun that waits for USR1, is told it, takes a while, and ends as a training does that saved a checkpoint.
PATIENT = """\
trap 'echo USR1 >> "$NOTES.signals"; told=1' USR1
trap 'echo TERM >> "$NOTES.signals"; told=1' TERM
mkdir -p runs/one; touch "$NOTES.ready"
while [ -z "$told" ]; do sleep 0.05; done
sleep 0.3
mkdir -p runs/one/checkpoint-7; touch runs/one/checkpoint-7/trainer_state.json
exit 85
"""


def until(there: Path) -> None:
    end = time.monotonic() + 20
    while not there.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_to_the_batch_shell_reaches_the_step_and_its_end_is_waited_for(cluster: Cluster, write: Callable[..., str], number: signal.Signals) -> None:
    cluster.program("srun", PATIENT)
    process = cluster.start(write())
    until(cluster.notes.with_name("notes.ready"))
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)  # a second one changes nothing
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert cluster.notes.with_name("notes.signals").read_text() == "USR1\n"
    assert cluster.calls("scontrol")[1:] == [["requeue", "123"]]
    assert said.count("received") == 2


# A launcher as accelerate's: its child has a session of its own, it dies of USR1 unless that is ignored, and it ends with 1 when its child fails.
LAUNCHER = f"""\
setsid {sys.executable} -c '
import os, signal, sys, time
print(os.getpid(), file=open(os.environ["NOTES"] + ".pid", "w"), flush=True)
signal.signal(signal.SIGUSR1, lambda *_: (os.makedirs("runs/one/checkpoint-1"), open("runs/one/checkpoint-1/trainer_state.json", "w"), end()))
def end():
    print(STATUS, file=open(os.environ["{STATUS_FILE}"], "a"), flush=True)
    os._exit(STATUS)
open(os.environ["NOTES"] + ".ready", "w")
time.sleep(30)
' || exit 1
"""


@pytest.mark.parametrize(("status", "requeued"), [(85, 1), (2, 0)])
def test_the_training_s_own_status_decides_and_not_its_launcher_s(cluster: Cluster, write: Callable[..., str], status: int, requeued: int) -> None:
    cluster.program("srun", SRUN_RUNS_IT)
    cluster.program("torchrun", LAUNCHER.replace("STATUS", str(status)).replace(STATUS_FILE.replace("STATUS", str(status)), STATUS_FILE))
    process = cluster.start(write())
    until(cluster.notes.with_name("notes.ready"))
    os.kill(int(cluster.notes.with_name("notes.pid").read_text()), signal.SIGUSR1)
    process.communicate(timeout=30)
    assert process.returncode == (0 if requeued else 1)
    assert cluster.calls("scontrol").count(["requeue", "123"]) == requeued


def test_a_training_leaves_its_status_only_where_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STATUS_FILE, raising=False)
    assert keep_status(2) == 2
    monkeypatch.setenv(STATUS_FILE, str(tmp_path / "status"))
    assert [keep_status(85), keep_status(85)] == [85, 85]
    assert (tmp_path / "status").read_text() == "85\n85\n"


@pytest.mark.slow
def test_the_training_module_leaves_its_status(tmp_path: Path) -> None:
    place = tmp_path / "status"
    command = [sys.executable, "-m", "syncabel.train", "--config", "there-is-none"]
    done = subprocess.run(command, env={**os.environ, STATUS_FILE: str(place)}, capture_output=True, check=False, timeout=120)
    assert done.returncode == 2
    assert place.read_text() == "2\n"


SETUPS = ((), ("module load cuda/12.4", "source env/bin/activate"), ("export A='x y'; for i in 1 2; do echo $i; done",))


@pytest.fixture(params=range(3))
def scripts(request: pytest.FixtureRequest) -> str:
    setup = SETUPS[request.param]
    return job_script(
        Job("llama3-8b-full", 2, partition="gpu", account="p1", cpus_per_node=64, setup=setup, sbatch=("--qos=long", "--mem=0"), flags=("--run_name", "$x 'y'"))
    )


def test_scripts_pass_bash_n(scripts: str) -> None:
    done = subprocess.run(["bash", "-n"], input=scripts, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_scripts_pass_shellcheck(scripts: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("needs shellcheck")
    done = subprocess.run(["shellcheck", "--severity=style", "--exclude=SC1091", "-"], input=scripts, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_the_cluster_is_asked_for_stands_at_the_top() -> None:
    script = job_script(Job("llama3-8b-full", 2, partition="gpu", account="p1", cpus_per_node=64, sbatch=("--qos=long",), setup=("module load x",)))
    head = script.split("module load x")[0]
    asked = {line.removeprefix("#SBATCH ") for line in head.splitlines() if line.startswith("#SBATCH ")}
    assert asked == {
        *("--job-name=syncabel-llama3-8b-full", "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--cpus-per-task=64", "--partition=gpu"),
        *("--account=p1", "--time=24:00:00", "--signal=B:USR1@300", "--requeue", "--open-mode=append", "--qos=long"),
    }
    assert "--cpus-per-task=64 --kill-on-bad-exit=0" in script  # srun does not take it over from sbatch


def test_nothing_of_this_machine_is_in_a_script() -> None:
    script = job_script(Job("llama3-8b-full", 2))
    for word in (os.fsdecode(PLACE), str(Path.home()), os.uname().nodename, sys.executable, os.getcwd()):
        if len(word) > 3:
            assert word not in script


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"nodes": 0}, "nodes"),
        ({"gpus_per_node": -1}, "gpus_per_node"),
        ({"time": "a day"}, "time"),
        ({"partition": "gpu\n#SBATCH --uid=0"}, "partition"),
        ({"partition": "--uid=0"}, "partition"),
        ({"account": "a b"}, "account"),
        ({"sbatch": ("--comment=a b",)}, "sbatch"),
        ({"sbatch": ("qos=long",)}, "sbatch"),
        ({"sbatch": ("--array=1-4",)}, "sets or forbids array"),
        ({"sbatch": ("--signal=B:TERM@10",)}, "sets or forbids signal"),
        ({"sbatch": ("--no-requeue",)}, "no-requeue"),
        ({"gpus_per_node": 0, "accelerate": "ddp"}, "torchrun"),
        ({"time": "4"}, "240 s, and grace_s 300"),
        ({"time": "04:30"}, "270 s"),
        ({"time": "0:04:59"}, "299 s"),
        ({"time": "0-0:05"}, "300 s"),
        ({"flags": ("--seed", "1\n2")}, "line break"),
        ({"flags": ("--seed", "1\r")}, "line break"),
        ({"setup": ("a\nb",)}, "line break"),
        ({"setup": ("echo 'open",)}, "setup"),
        ({"setup": ("if true; then",)}, "setup"),
        ({"flags": ("--resume", "false")}, "resume"),
        ({"flags": ("--resume=False",)}, "resume"),
        ({"flags": ("--max_steps", "many")}, "max_steps.*'many'"),
        ({"flags": ("--mix", "1:1", "--init", "pretrained")}, "give model_name_or_path"),
        ({"flags": ("--tokenizer", "x", "--use_peft", "true")}, "nothing to adapt"),
        ({"nodes": 2, "accelerate": "single-gpu"}, "accelerate single-gpu starts one process .*, not 16; give ddp"),
        ({"accelerate": "single-gpu"}, "starts one process .*, not 8"),
    ],
)
def test_what_would_break_a_script_is_refused(config: str, named: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        job_script(Job(config, **named))  # type: ignore[arg-type]


def test_a_config_that_is_not_there_is_refused(config: str) -> None:
    with pytest.raises(UnknownNameError, match="llama3-8b"):
        job_script(Job("llama3-8b-fulll"))
    with pytest.raises(UnknownNameError, match="two-nodes"):
        job_script(Job(config, accelerate="two-node"))


def test_an_argument_that_the_training_does_not_know_is_refused(config: str) -> None:
    for flags in (("--bogus", "3"), ("--bogus=3",), ("bogus",)):
        with pytest.raises(UnknownNameError, match="unknown argument 'bogus'; did you mean"):
            job_script(Job(config, flags=flags))
    with pytest.raises(UnknownNameError, match="did you mean 'max_steps'"):
        job_script(Job(config, flags=("--max_step", "3")))
    path = Path(config)
    path.write_text(f"{path.read_text()}max_stepps: 3\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match=f"unknown key in {path}: 'max_stepps'"):
        job_script(Job(config))


def test_an_argument_that_the_training_takes_is_taken(config: str) -> None:
    flags = ("--debug", "--seeds", "0,1", "--human-examples=elsewhere/human.jsonl", "--dev_documents", "elsewhere/dev.jsonl", "--bf16", "true", "--fp16=false")
    assert "elsewhere/dev.jsonl" in job_script(Job(config, flags=flags))


def accelerate_of(script: str) -> str:
    """The name of accelerate's configuration in a script."""
    return next(line for line in script.splitlines() if line.startswith("accelerate=")).split()[-4]


@pytest.mark.parametrize(
    ("config", "nodes", "gpus", "taken"),
    [
        ("llama3-8b-full", 1, 8, "fsdp2"),
        ("llama3-8b-full", 1, 1, "single-gpu"),
        ("llama3-8b-improved", 2, 8, "two-nodes"),
        ("llama3-8b-lora", 1, 8, "ddp"),
        ("llama3-8b-lora", 2, 4, "ddp"),
        ("llama3-8b-qlora", 1, 8, "ddp"),
        ("llama3-8b-qlora", 1, 1, "single-gpu"),
    ],
)
def test_a_job_is_started_as_its_size_and_its_adapter_ask_for(config: str, nodes: int, gpus: int, taken: str) -> None:
    assert accelerate_of(job_script(Job(config, nodes, gpus))) == taken


def test_an_adapter_that_a_flag_asks_for_counts() -> None:
    assert accelerate_of(job_script(Job("llama3-8b-full", flags=("--use_peft", "true")))) == "ddp"
    assert accelerate_of(job_script(Job("llama3-8b-lora", flags=("--use_peft", "false")))) == "fsdp2"


def test_quantised_weights_are_not_queued_under_fsdp() -> None:
    for name in ("fsdp2", "fsdp2-offload", "two-nodes"):
        with pytest.raises(ConfigError, match=f"accelerate {name} is FSDP, .*; give ddp or single-gpu"):
            job_script(Job("llama3-8b-qlora", accelerate=name))
    assert accelerate_of(job_script(Job("llama3-8b-lora", accelerate="fsdp2"))) == "fsdp2"


def test_a_config_without_a_place_for_checkpoints_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bare.yaml"
    path.write_text(LEAST, encoding="utf-8")
    with pytest.raises(ConfigError, match="output_dir"):
        job_script(Job(str(path)))
    assert "\noutput='a b'\n" in job_script(Job(str(path), flags=("--output_dir=x", "--output-dir", "a b")))
    assert "\noutput=./-b\n" in job_script(Job(str(path), flags=("--output_dir=-b",)))


def test_submit_gives_the_job_s_number(cluster: Cluster, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.program("sbatch", 'cat > "$NOTES.script"; echo "4711;east"\n')
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    assert submit(write()) == "4711"
    assert cluster.notes.with_name("notes.script").read_text() == write()
    cluster.program("sbatch", 'echo "sbatch: error: invalid\npartition" >&2; exit 1\n')
    with pytest.raises(ConfigError, match="invalid partition"):
        submit(write())


def test_submit_without_sbatch_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no sbatch on this machine"):
        submit("#!/bin/bash\n")


@pytest.mark.parametrize(("nodes", "gpus", "accelerate"), [(2, 8, None), (3, 4, "fsdp2"), (1, 8, None), (1, 4, "ddp"), (2, 4, "ddp")])
def test_accelerate_reads_the_launch_line_as_it_is_meant(cluster: Cluster, write: Callable[..., str], nodes: int, gpus: int, accelerate: str | None) -> None:
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    cluster.program("srun", SRUN_RUNS_IT)
    cluster.program("accelerate", "")
    assert cluster.run(write(nodes=nodes, gpus_per_node=gpus, accelerate=accelerate))[0] == 0
    (call,) = cluster.calls("accelerate")
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(call[1:]))
    environment = prepare_multi_gpu_env(arguments)
    assert arguments.nproc_per_node == str(gpus)
    assert (arguments.training_script, arguments.module) == ("syncabel.train", True)
    assert (environment.get("ACCELERATE_USE_FSDP") == "true") == (accelerate != "ddp")
    if nodes > 1:
        where = (arguments.master_addr, arguments.master_port) if arguments.same_network else tuple(arguments.rdzv_endpoint.split(":"))
        assert (arguments.nnodes, arguments.node_rank, where) == (str(nodes), 1, ("node7", "15123"))
