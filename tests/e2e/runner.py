"""Runs the commands as a person does: in a process of its own, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

CLI = Path(__file__).resolve().parents[2] / "cli.py"


def alacena(*arguments: str, cwd: Path, store: str = "store", wait: float = 240) -> subprocess.CompletedProcess[str]:
    """What a command printed and how it ended; no colours, as where there is no terminal."""
    environment = os.environ | {"NO_COLOR": "1", "ALACENA_STORE": store}
    command = [sys.executable, str(CLI), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, text=True, capture_output=True, timeout=wait, check=False)


def done(*arguments: str, cwd: Path, store: str = "store") -> str:
    """Stdout of a command that has to succeed."""
    ended = alacena(*arguments, cwd=cwd, store=store)
    assert ended.returncode == 0, f"{arguments}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
