"""Settings as options of the command line: one option a field, so that recipe, help and documentation are one text.

`options(Curate)` gives a command an option for every field; `resolve` puts flags over the recipe over the defaults and
remembers where each value came from.
"""

import inspect
import types
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from manifests.errors import Exit
from manifests.recipe import COMMAND_LINE, Settings, checked

S = TypeVar("S", bound=Settings)


def fields(kind: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields that have an option: those with a description that a recipe alone does not own."""
    extra = {name: field.json_schema_extra for name, field in kind.model_fields.items()}
    hidden = {name for name, value in extra.items() if isinstance(value, dict) and value.get("recipe_only")}
    return {name: field for name, field in kind.model_fields.items() if field.description and name not in hidden}


def options(kind: type[BaseModel], *, without: tuple[str, ...] = ()) -> list[inspect.Parameter]:
    """A command's parameters for each field: None where the option was not given."""
    return [_parameter(name, field) for name, field in fields(kind).items() if name not in without]


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    kind, metavar, choices = _kind(field.annotation)
    flag = "--" + name.replace("_", "-")
    declarations = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
    default = _default(field.default, choices, "x" if name == "size" else ",")
    text = f"{field.description} {default}".strip()
    option = typer.Option(*declarations, help=text, metavar=metavar, show_default=False)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _kind(annotation: Any) -> tuple[type, str | None, tuple[str, ...]]:
    """What the shell passes for a field of this type, how help calls it, and the words it may be."""
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in {Union, types.UnionType}:
        named = [part for part in get_args(annotation) if part is not type(None)]
        if len(named) > 1:  # words, or something else
            words = [_kind(part)[1] or "" for part in named]
            return str, "|".join(words), ()
        return _kind(named[0])
    if get_origin(annotation) is Literal:
        words = tuple(str(word) for word in get_args(annotation))
        return str, "|".join(words), words
    if annotation in {int, float, bool}:
        return annotation, {int: "N", float: "X", bool: None}[annotation], ()
    return str, "CLASS=X,…" if get_origin(annotation) is dict else "TEXT", ()


def _default(value: Any, choices: tuple[str, ...], between: str) -> str:
    if value is None or value == () or value == {} or isinstance(value, bool):
        return ""
    text = between.join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"[default: {text}]"


def resolve(kind: type[S], flags: dict[str, Any], section: dict[str, Any], place: str) -> tuple[S, dict[str, str]]:
    """Settings, and the origin of each value: flag, recipe or default. Raises UserError for a value that cannot be."""
    given = {name: value for name, value in flags.items() if value is not None}
    checked(kind, section, place)
    aliases = {field.alias: name for name, field in kind.model_fields.items() if field.alias}
    stated = {aliases.get(name, name): value for name, value in section.items()}
    settings = checked(kind, stated | given, COMMAND_LINE, Exit.USAGE)
    origins = {
        name: f"--{name.replace('_', '-')}" if name in given else place if name in stated else "default"
        for name in kind.model_fields
    }
    return settings, origins
