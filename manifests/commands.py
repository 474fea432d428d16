"""What makes a function a command: its options, the common ones, its settings, and one place for errors.

A command takes a `Call` and, if it makes a stage, that stage's validated settings. `cli.py` holds the commands. What
the shell needs of one is built when that one is asked for: its options come from the settings, and those from
pydantic, which help and the other commands start without (measured: benchmarks/starting.py).
"""

import inspect
import os
import re
import sys
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

from manifests.console import Face, table
from manifests.errors import Exit, UserError
from manifests.store import DatasetStore, open_dataset

if TYPE_CHECKING:
    from manifests.settings import Settings

Command = Callable[..., None]


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


@dataclass(frozen=True)
class Registered:
    """A command as `command` was told of it."""

    name: str
    function: Command
    example: str
    stage: str | None
    without: tuple[str, ...]  # fields of the stage's settings that are no options

    @property
    def help(self) -> str:
        return inspect.getdoc(self.function) or ""


REGISTERED: dict[str, Registered] = {}


def command(
    example: str, *, stage: str | None = None, name: str | None = None, without: tuple[str, ...] = ()
) -> Callable[[Command], Command]:
    """Register a command: the options of its stage, the common ones, and one place for errors."""

    def register(function: Command) -> Command:
        called = name or function.__name__
        REGISTERED[called] = Registered(called, function, example, stage, without)
        return function

    return register


class Commands(TyperGroup):
    """The commands by name, each built when it is looked up."""

    def __init__(self, **given: Any) -> None:
        given["commands"] = Built()
        super().__init__(**given)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Of a list of all commands the names and first sentences are enough."""
        listed: dict[str, Any] = {one.name: TyperCommand(one.name, help=one.help) for one in REGISTERED.values()}
        TyperGroup(commands=listed).format_commands(ctx, formatter)


class Built(Mapping[str, Any]):
    """Each command as typer runs it."""

    def __getitem__(self, name: str) -> Any:
        return built(REGISTERED[name])

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTERED)

    def __len__(self) -> int:
        return len(REGISTERED)


def built(one: Registered) -> Any:
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    alone.command(one.name, help=one.help, epilog=f"Example: {one.example}")(called(one))
    return typer.main.get_command(alone)


def called(one: Registered) -> Command:
    """The function that the shell calls, with the signature that its options are read from."""
    own = inspect.signature(one.function).parameters

    def run(*, store: Path, dataset: str | None, json: bool, quiet: bool, **rest: Any) -> None:
        call = Call(Face(quiet=quiet, json=json), store, dataset)
        with reported(call.face, one.name):
            check_name(dataset)
            if one.stage:
                flags = {key: rest.pop(key) for key in list(rest) if key not in own and key not in OF_A_STAGE}
                rest["settings"] = settings_of(
                    call, one.stage, flags, rest.pop("recipe"), shown=rest.pop("show_settings")
                )
            with call.face.progress():
                one.function(call, **rest)

    parameters = [own[key] for key in own if key not in {"call", "settings"}]
    parameters += stage_options(one.stage, one.without) if one.stage else []
    parameters += [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind | None)
        for key, (kind, default) in ((OF_A_STAGE | COMMON) if one.stage else COMMON).items()
    ]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    vars(run).update(
        __signature__=inspect.Signature(parameters), __annotations__={p.name: p.annotation for p in parameters}
    )
    return run


def stage_options(stage: str, without: tuple[str, ...]) -> list[inspect.Parameter]:
    from manifests.flags import options
    from manifests.recipe import STAGE_SETTINGS

    return options(STAGE_SETTINGS[stage], without=without)


def check_name(dataset: str | None) -> None:
    if dataset is None:
        return
    from manifests.settings import NAME

    if not re.fullmatch(NAME, dataset):
        raise UserError(f"--dataset {dataset!r}: letters, digits and . _ + - only, no dot first.", Exit.USAGE)


def _group() -> None:
    """The commands do it all."""


app = typer.Typer(
    cls=Commands,
    callback=_group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    help="Curate an image data set once, transform it once into tensor shards, train from them at the speed of memory.",
)


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


def settings_of(call: Call, stage: str, flags: dict[str, Any], recipe: Path | None, *, shown: bool) -> "Settings":
    """The settings of a command: flags over the recipe over the defaults."""
    from manifests.flags import resolve
    from manifests.recipe import STAGE_SETTINGS

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
    from manifests.recipe import read_recipe, read_toml

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
