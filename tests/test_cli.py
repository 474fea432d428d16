import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import cli
from etl.pipeline import remember
from manifests.commands import REGISTERED
from manifests.store import DatasetStore
from tests.makers import brought, class_folders, recipe

ROOT = Path(cli.__file__).parent
# What a start can do without: it draws nothing, decodes nothing and opens no table.
HEAVY = ("torch", "torchvision", "timm", "sklearn", "matplotlib", "polars", "numpy", "imagehash", "rich", "asyncio")


def imported(*arguments: str, place: Path) -> set[str]:
    """The modules of a process that ran a command and succeeded."""
    code = f"import sys; sys.argv = ['alacena', *{arguments!r}]\nimport cli\ntry: cli.main()\n"
    code += "except SystemExit as end: assert not end.code, end.code\n"
    code += "sys.stdout.write('\\nmodules: ' + ' '.join(sys.modules))"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ALACENA_STORE": str(place)}
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stdout.rpartition("modules: ")[2].split())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every stage of a data set is fresh; its recipe beside it."""
    place = tmp_path_factory.mktemp("store")
    asked = recipe(class_folders(place / "photos", {"a": 3, "b": 3}))
    brought(asked, place)
    remember(DatasetStore(place / "made"), asked)
    toml = f'dataset = "made"\n[extract]\nsource = "{place / "photos"}"\n[transform]\nsize = 16\n'
    (place / "made.toml").write_text(toml, "utf-8")
    return place


class TestStarting:
    """What a command does not need, it does not import."""

    @pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"]])
    def test_help_needs_no_settings_and_no_package_that_works(self, tmp_path: Path, arguments: list[str]):
        found = imported(*arguments, place=tmp_path)
        assert {"cli", "typer"} <= found
        assert found & {*HEAVY, "PIL", "manifests.recipe"} == set()

    def test_help_of_a_stage_needs_its_settings_and_no_more(self, tmp_path: Path):
        found = imported("train", "--help", place=tmp_path)
        assert "manifests.recipe" in found
        assert found & {*HEAVY, "PIL"} == set()

    def test_a_run_with_nothing_to_do_needs_nothing_that_works(self, store: Path):
        found = imported("run", str(store / "made.toml"), place=store)
        assert "etl.pipeline" in found
        assert found & {*HEAVY, "etl.augmentations", "etl.extract"} == set()

    def test_status_draws_a_table_and_needs_no_more(self, store: Path):
        found = imported("status", place=store)
        assert "rich" in found
        assert found & ({*HEAVY} - {"rich"}) == set()


class TestCommands:
    """A command is built when it is asked for; the list of all is that of those that can be."""

    def test_the_list_has_each_command_with_its_first_sentence(self):
        group = typer.main.get_command(cli.app)
        listed = group.get_help(typer.Context(group))
        for name, one in REGISTERED.items():
            assert f"\n  {name} " in listed
            assert one.help[:30] in " ".join(listed.split())

    def test_each_is_built_with_its_help_and_its_example(self):
        group = typer.main.get_command(cli.app)
        commands = vars(group)["commands"]
        assert list(commands) == list(REGISTERED)
        for name, one in REGISTERED.items():
            assert (commands[name].name, commands[name].help) == (name, one.help)
            assert commands[name].epilog == f"Example: {one.example}"
