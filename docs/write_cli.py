"""Writes docs/cli.md from the commands themselves; with --check, says whether it is up to date instead."""

import re
import sys
from pathlib import Path
from typing import Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import app
from manifests.errors import MEANINGS

FILE = Path(__file__).with_name("cli.md")
HEAD = """# Commands

Written from the commands by `make docs`; a test holds that it is up to date. `python cli.py …` and, installed,
`alacena …` are the same. Results go to stdout, progress and remarks to stderr.

| exit code | meaning |
| --- | --- |
"""


def page() -> str:
    group: Any = typer.main.get_command(app)
    codes = "".join(f"| {code.value} | {meaning} |\n" for code, meaning in MEANINGS.items())
    return HEAD + codes + "".join(section(name, command) for name, command in group.commands.items())


def section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join(["alacena", name, *(p.metavar for p in arguments), "[OPTIONS]"])
    rows = [f"| `{p.metavar}` | {cell(p.help)} |" for p in arguments]
    rows += [f"| {flags(p)} | {cell(p.help)} |" for p in command.params if p.param_type_name == "option"]
    example = command.epilog.removeprefix("Example: ")
    table = "\n".join(["| option | meaning |", "| --- | --- |", *rows])
    return f"\n## {name}\n\n{command.help}\n\n```\n{usage}\n{example}\n```\n\n{table}\n"


def flags(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    return "`" + ", ".join(names) + ("" if option.is_flag else f" {option.metavar}") + "`"


def cell(text: str | None) -> str:
    return re.sub(r"\s+", " ", (text or "").replace("|", "\\|"))


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(None if FILE.read_text("utf-8") == page() else "docs/cli.md is not up to date: make docs")
    FILE.write_text(page(), "utf-8")
