"""What makes a function a command: its options, the common ones, its settings, and one place for errors.

A command takes a `Call` and, if it makes a stage, that stage's validated settings. `cli.py` holds the commands.
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from manifests.console import Face, table
from manifests.errors import Exit, UserError
from manifests.flags import options, resolve
from manifests.recipe import NAME, STAGE_SETTINGS, Settings, read_recipe, read_toml
from manifests.store import DatasetStore, open_dataset

Command = Callable[..., None]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Curate an image data set once, transform it once into tensor shards, train from them at the speed of memory.",
)


def option(text: str, *names: str, default: Any = None, **more: Any) -> Any:
    """The default value of a command's parameter that is an option."""
    return typer.Option(default, *names, help=text, show_default=False, **more)


def argument(text: str, metavar: str, default: Any = None) -> Any:
    """The default value of a command's parameter that stands by its place."""
    return typer.Argument(default, help=text, metavar=metavar, show_default=False)


STORE, STORE_VARIABLE = Path("store"), "ALACENA_STORE"
STORE_HELP = "Where everything made is kept. [default: store]"
COMMON: dict[str, tuple[type, Any]] = {
    "store": (Path, option(STORE_HELP, default=STORE, envvar=STORE_VARIABLE, metavar="DIR")),
    "dataset": (str, option("Which data set. [default: the only one there]", metavar="NAME")),
    "json": (bool, option("The result as JSON on stdout.", "--json", default=False)),
    "quiet": (bool, option("No progress and no remarks.", "--quiet", "-q", default=False)),
}
OF_A_STAGE: dict[str, tuple[type, Any]] = {
    "recipe": (Path, option("Recipe that states the settings; flags go before it.", metavar="FILE")),
    "show_settings": (bool, option("Print each value with its origin, and stop.", "--show-settings", default=False)),
}


@dataclass(frozen=True)
class Call:
    """What every command is given."""

    face: Face
    store: Path
    name: str | None  # of the data set, where one was named

    @property
    def dataset(self) -> DatasetStore:
        return open_dataset(self.store, self.name)


class ShownSettings(Exception):  # noqa: N818 - no error: --show-settings was answered
    """Nothing more is to be done."""


def command(
    example: str, *, stage: str | None = None, name: str | None = None, without: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """Register a command: the options of its stage, the common ones, and one place for errors."""

    def register(function: Command) -> Command:
        called, own = name or function.__name__, inspect.signature(function).parameters

        def run(*, store: Path, dataset: str | None, json: bool, quiet: bool, **rest: Any) -> None:
            call = Call(Face(quiet=quiet, json=json), store, dataset)
            with reported(call.face, called):
                if dataset is not None and not re.fullmatch(NAME, dataset):
                    raise UserError(
                        f"--dataset {dataset!r}: letters, digits and . _ + - only, no dot first.", Exit.USAGE
                    )
                if stage:
                    flags = {key: rest.pop(key) for key in list(rest) if key not in own and key not in OF_A_STAGE}
                    rest["settings"] = settings_of(
                        call, stage, flags, rest.pop("recipe"), shown=rest.pop("show_settings")
                    )
                with call.face.progress():
                    function(call, **rest)

        extra = OF_A_STAGE | COMMON if stage else COMMON
        parameters = [own[key] for key in own if key not in {"call", "settings"}]
        parameters += options(STAGE_SETTINGS[stage], without=without) if stage else []
        parameters += [
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None)
            for key, (kind, default) in extra.items()
        ]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        vars(run).update(
            __signature__=inspect.Signature(parameters), __annotations__={p.name: p.annotation for p in parameters}
        )
        app.command(called, help=inspect.getdoc(function), epilog=f"Example: {example}")(run)
        return function

    return register


@contextmanager
def reported(face: Face, name: str) -> Generator[None]:
    """What a person can put right is one red line and an exit code; our own bugs keep their traceback."""
    try:
        yield
    except UserError as error:
        face.fail(f"alacena {name}: {error}")
        raise typer.Exit(error.code) from None
    except KeyboardInterrupt:
        face.fail(f"alacena {name}: interrupted; what is published is kept, the stage under way begins again.")
        raise typer.Exit(Exit.INTERRUPTED) from None
    except ShownSettings:
        pass
    except BrokenPipeError:  # the reader went away: head, or a pager that was closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def settings_of(call: Call, stage: str, flags: dict[str, Any], recipe: Path | None, *, shown: bool) -> Settings:
    """The settings of a command: flags over the recipe over the defaults."""
    section = _section(recipe, stage) if recipe else {}
    settings, origins = resolve(STAGE_SETTINGS[stage], flags, section, str(recipe))
    if shown:
        values = settings.asked()
        call.face.show(
            table(
                ("setting", "value", "from"),
                [(key, str(values[key]), origins[key]) for key in values if key in origins],
            )
        )
        call.face.result({key: {"value": values[key], "from": origins[key]} for key in values})
        raise ShownSettings
    return settings


def _section(recipe: Path, stage: str) -> dict[str, Any]:
    """What a recipe states of one stage; of training, its only run."""
    read_recipe(recipe)  # the whole of it must hold
    said = read_toml(recipe)
    if stage != "train":
        return said.get(stage, {})
    runs = said.get("runs", [])
    if len(runs) != 1:
        raise UserError(
            f"{recipe}: states {len(runs)} runs; train takes a recipe with one. All of them: alacena run {recipe}",
            Exit.USAGE,
        )
    return runs[0]
