"""Where commands write: never over what they read, and into no folder whose files of the same names are somebody else's."""

from collections.abc import Iterable
from pathlib import Path

from syncabel.errors import ConfigError

__all__ = ["refuse_foreign", "refuse_inputs"]


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[Path | str | None]) -> None:
    """Refuse to write a file that is read, whatever its path is called; what is not given counts for nothing.

    Raises:
        ConfigError: an output is an input, or lies where an input folder is.
    """
    read = {Path(path).resolve(): path for path in inputs if path is not None and Path(path).exists()}
    for path in outputs:
        if path is not None and (same := read.get(path.resolve())) is not None:
            raise ConfigError(f"{path} would be written over {'itself' if str(same) == str(path) else same}, which is read; give another output")


def refuse_foreign(folder: Path, marks: Iterable[str], names: Iterable[str], command: str) -> None:
    """Refuse a folder that holds files of the names to be written and nothing that says they were written by the same command.

    Args:
        folder: to be written to.
        marks: files that the command leaves in a folder of its own.
        names: of the files that it writes, or removes.
        command: for the message.

    Raises:
        ConfigError: such a file is there.
    """
    if any((folder / mark).is_file() for mark in marks):
        return
    if foreign := next((name for name in names if (folder / name).exists()), None):
        raise ConfigError(f"{folder / foreign} is there, and no `{command}` wrote it; give another folder, or move it away")
