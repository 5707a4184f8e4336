"""What all results files say alike, in the form of docs/results/README.md, and how they are written."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from syncabel import __version__

__all__ = ["head", "processor", "revision", "software", "write"]


def head(path: Path) -> dict[str, Any]:
    """The first keys of a results file: its name, the day, the command as typed, the checkout's commit."""
    return {"name": path.stem, "date": time.strftime("%Y-%m-%d"), "command": " ".join(["python", *sys.argv]), "commit": revision()}


def revision() -> str:
    """The commit of the checkout that the scripts lie in; "" outside of one."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False).stdout.strip()


def processor() -> str:
    """The processors of this machine: their number and kind."""
    return f"{os.cpu_count()} × {platform.machine()} CPU"


def software(*packages: str) -> dict[str, str]:
    """Versions of this project, of Python and of the packages named."""
    return {"syncabel": __version__, "python": platform.python_version(), **{name: version(name) for name in packages}}


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a results file, moved into its place when whole: a grid writes its file anew after every cell, and may be stopped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".tmp")
    written.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=160, default_flow_style=None), encoding="utf-8")
    os.replace(written, path)
