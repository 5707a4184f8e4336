"""What a launcher was asked for against what it started; checked before anything is loaded.

accelerate and torchrun start processes, and where they cannot do what they were asked for they do something else in silence:
`accelerate launch --cpu --num_processes 2` starts one process, and so does `--num_processes 8` where there is no GPU; FSDP on CPU
processes becomes plain DDP.  Steps, batches and the learning rate would then be other ones than planned; and so they would where
several processes compute parts of one example.
"""

from collections.abc import Mapping

from syncabel.errors import ConfigError

__all__ = ["check_launch", "check_world", "is_sharded_by"]

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # of torchrun and of the MPIs that accelerate knows
_PARTS = {"TP": "tensor", "CP": "context", "SP": "sequence"}  # accelerate's short names, of what several processes compute of one example
_ON_CPU = "`torchrun --nproc_per_node N -m syncabel.train … --use_cpu true`"


def check_launch(environment: Mapping[str, str], devices: int, on_cpu: bool) -> None:
    """Refuse a start that is not what was asked for.

    Args:
        environment: of this process, as the launcher left it.
        devices: accelerators that this machine has.
        on_cpu: the configuration or a flag says use_cpu.

    Raises:
        ConfigError: fewer processes than asked for, more on this machine than it has accelerators, FSDP without any, or one example
            divided among processes.
    """
    _check_parts(environment)
    sizes = [int(environment[name]) for name in _SIZES if environment.get(name)]
    # Of one process accelerate sets ACCELERATE_USE_CPU, and an address to meet at only where there should have been several.
    if not sizes and "ACCELERATE_USE_CPU" in environment and "MASTER_ADDR" in environment:
        raise ConfigError(
            f"accelerate was asked for several processes and started one, as it does with --cpu and where it finds {devices} GPUs; "
            f"give --num_processes 1, or on CPUs {_ON_CPU} (and unset MASTER_ADDR if it was set before)"
        )
    local = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    if local > max(devices, 1) and not on_cpu:
        raise ConfigError(
            f"{local} processes were started on a machine with {devices} GPUs; give --num_processes {max(devices, 1)} to the launcher, or for CPUs {_ON_CPU}"
        )
    if is_sharded_by(environment) and (on_cpu or not devices):
        raise ConfigError("FSDP without a GPU: accelerate shards nothing on CPUs and says nothing; use no FSDP configuration there")


def _check_parts(environment: Mapping[str, str]) -> None:
    """Refuse what would give two processes the same example, for here each process is dealt its own."""
    if environment.get("ACCELERATE_USE_PARALLELISM_CONFIG", "").lower() != "true":
        return
    for short, name in _PARTS.items():
        if (size := int(environment.get(f"PARALLELISM_CONFIG_{short}_SIZE", "1"))) > 1:
            key = f"parallelism_config_{short.lower()}_size"
            raise ConfigError(
                f"{name} parallelism over {size} processes: each process trains on examples of its own here; leave {key} out, FSDP shards the model"
            )


def is_sharded_by(environment: Mapping[str, str]) -> bool:
    """Whether accelerate was told to shard the model over the processes (FSDP)."""
    return environment.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def check_world(environment: Mapping[str, str], processes: int) -> None:
    """Refuse to train in processes that do not know of each other.

    Args:
        environment: of this process.
        processes: that train together, as the trainer sees it.

    Raises:
        ConfigError: the launcher started another number.
    """
    started = next((int(environment[name]) for name in _SIZES if environment.get(name)), 1)
    if started != processes:
        raise ConfigError(f"the launcher started {started} processes, {processes} of them train together; leave `--use_cpu false` out where there is no GPU")
