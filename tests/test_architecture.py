import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("cli", "etl", "training", "manifests")
MAY = {  # who may import whom
    "cli": {"cli", "etl", "training", "manifests"},
    "etl": {"etl", "manifests"},
    "training": {"training", "manifests"},
    "manifests": {"manifests"},
}
HEAVY = ("torch", "torchvision", "timm", "sklearn", "matplotlib", "polars")


def modules() -> list[Path]:
    files = [ROOT / "cli.py", *(file for room in ROOMS[1:] for file in (ROOT / room).rglob("*.py"))]
    return sorted(file for file in files if file.is_file())


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imported(tree: ast.AST, package: list[str]) -> set[str]:
    """Full names of all that is imported, anywhere in the module, and in words given to import_module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "import_module":
            found |= {
                text.value for text in ast.walk(node) if isinstance(text, ast.Constant) and isinstance(text.value, str)
            }
    return found


def rooms(file: Path) -> set[str]:
    """The rooms that a module imports from."""
    package = list(file.relative_to(ROOT).parts[:-1])
    return {name.split(".")[0] for name in imported(ast.parse(file.read_text("utf-8")), package)} & set(ROOMS)


def in_a_new_process(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=False
    )


class TestArrows:
    """cli → etl, training, manifests; etl → manifests; training → manifests; and none back or across."""

    @pytest.mark.parametrize("file", modules(), ids=named)
    def test_a_module_imports_only_from_where_it_may(self, file: Path):
        room = file.relative_to(ROOT).parts[0].removesuffix(".py")
        assert rooms(file) <= MAY[room]

    def test_the_rooms_that_are_looked_at_are_there(self):
        assert {file.relative_to(ROOT).parts[0].removesuffix(".py") for file in modules()} >= {"etl", "manifests"}
        assert len(modules()) > 20

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("import etl.images", {"etl"}),
            ("from training import loop", {"training"}),
            ("def f():\n    from manifests.store import Stage", {"manifests"}),
            ("from ...training.loop import x", {"training"}),
            ("from ..curate import x", {"etl"}),
            ("import importlib\nimportlib.import_module(f'training.{x}')", {"training"}),
            ("import numpy", set[str]()),
        ],
    )
    def test_no_way_of_importing_is_overlooked(self, code: str, expected: set[str]):
        names = {name.split(".")[0] for name in imported(ast.parse(code), ["etl", "sources"])}
        assert names & set(ROOMS) == expected


def does_something(node: ast.stmt) -> bool:
    """Whether a statement of a module, at import, is more than a name for something."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if isinstance(node, ast.If):
        return any(map(does_something, [*node.body, *node.orelse])) and "__name__" not in ast.dump(node.test)
    if isinstance(node, ast.Try):
        return any(map(does_something, node.body))
    return isinstance(node, ast.For | ast.While | ast.With | ast.Assert | ast.Raise | ast.Delete)


class TestImports:
    """Importing a module does nothing: it prints nothing and writes nothing."""

    @pytest.mark.parametrize("file", [file for file in modules() if file.parts[-2] != "report"], ids=named)
    def test_a_module_only_names_things(self, file: Path):
        room = file.relative_to(ROOT).parts[0]
        body = ast.parse(file.read_text("utf-8")).body
        acting = [ast.unparse(node) for node in body if does_something(node)]
        assert acting == [] or room == "cli.py"  # the command line registers its commands

    def test_importing_etl_and_manifests_prints_and_writes_nothing(self, tmp_path: Path):
        names = [
            named(file).removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for file in modules()
            if file.relative_to(ROOT).parts[0] in {"etl", "manifests"}
        ]
        done = in_a_new_process("; ".join(f"import {name}" for name in names), tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "name", ["etl.pipeline", "etl.keys", "etl.display", "manifests.recipe", "manifests.store", "cli"]
    )
    def test_what_help_and_status_import_is_light(self, name: str, tmp_path: Path):
        if name == "cli" and not (ROOT / "cli.py").is_file():
            pytest.skip("there is no command line yet")
        code = f"import sys, {name}; print([heavy for heavy in {HEAVY!r} if heavy in sys.modules])"
        done = in_a_new_process(code, tmp_path)
        assert (done.stdout, done.stderr) == ("[]\n", "")

    def test_what_workers_import_has_no_tables(self, tmp_path: Path):
        code = "import sys, etl.opening, etl.filling; print({'polars', 'torch'} & sys.modules.keys())"
        done = in_a_new_process(code, tmp_path)
        assert (done.stdout, done.stderr) == ("set()\n", "")
