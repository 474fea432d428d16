"""What settings are made of: a frozen model without unknown keys, lists and tables as a flag writes them, one sentence
for what is wrong. `manifests.recipe` and `manifests.learning` hold the settings themselves.
"""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from manifests.errors import Exit, UserError, known

T = TypeVar("T", bound="Settings")
COMMAND_LINE = "the command line"  # the place of settings that are options
NAME = r"^[\w+-][\w.+-]*$"  # of a data set or a run: one folder's name, never a way out of the store


def _list(value: Any) -> Any:
    """`a,b` or `@file` (a name a line) as a list; what is a list already stays."""
    if not isinstance(value, str):
        return value
    if value.startswith("@"):
        try:
            lines = Path(value[1:]).read_text("utf-8-sig").splitlines()
        except OSError as error:
            raise ValueError(f"{value[1:]} cannot be read ({error.strerror})") from None
        return [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return [part.strip() for part in value.split(",") if part.strip()]


def split_pairs(value: Any) -> Any:
    """`old=new,old=new` as a table; what is a table already stays."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in _list(value)]
    if bad := [left for left, sign, right in pairs if not (left and sign and right)]:
        raise ValueError(f"{bad[0]!r} is not of the form old=new")
    return {left.strip(): right.strip() for left, _, right in pairs}


def _limits(value: Any) -> Any:
    """`dark,blurred:60` or a list of such as a table of name and limit; no limit means the usual one."""
    names = _list(value)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return value
    pairs = [name.partition(":") for name in names]
    return {name.strip(): limit.strip() or None if sign else None for name, sign, limit in pairs}


Names = Annotated[tuple[str, ...], BeforeValidator(_list)]
Widths = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_list)]
Pairs = Annotated[dict[str, str], BeforeValidator(split_pairs)]
Faults = Annotated[dict[str, Annotated[float, Field(allow_inf_nan=False)] | None], BeforeValidator(_limits)]


class Settings(BaseModel):
    """What is asked of one stage: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def asked(self) -> dict[str, Any]:
        """As plain JSON: what is remembered, and what a stage's key is made of."""
        return self.model_dump(mode="json")

    def absolute(self) -> Self:
        """With every path absolute, so that it means the same from any folder."""
        return self


def absolute_path(file: str | None) -> str | None:
    """The absolute path of a file that is there; anything else stays as it is."""
    return str(Path(file).absolute()) if file and Path(file).is_file() else file


def read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{file}: no such recipe. Those that come along are in manifests/recipes.", Exit.USAGE
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid TOML: {error}.", Exit.RECIPE) from None


def checked(kind: type[T], values: dict[str, Any], place: str, code: Exit = Exit.RECIPE) -> T:
    """Validate, or raise UserError with one sentence: place, key, value, what is expected."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        said = explain(kind, error)
        if place == COMMAND_LINE:  # there, a key is an option
            raise UserError(
                re.sub(r"^(\w+)(\.\d+)*", lambda key: "--" + key[1].replace("_", "-"), said), code
            ) from None
        raise UserError(f"{place}: {said}", code) from None


def explain(kind: type[Settings], error: ValidationError) -> str:
    """The first thing wrong, in words, and how many more there are."""
    problems = error.errors()
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"] if part not in {"str", "dict[str,any]"})
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        words = known(str(first["loc"][-1]), _keys(kind, first["loc"][:-1]))
        return f"unknown key {key}. {words}{more}"
    if first["type"] == "missing":
        return f"{key} is missing{more}"
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch" and first.get("ctx", {}).get("pattern") == NAME:
        message = "a name has letters, digits and . _ + - only, and no dot first"
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        words = re.findall(r"'([^']+)'", message)
        message = f"unknown. {known(first['input'], words)}"
    value = "" if isinstance(first["input"], dict) else f" = {first['input']!r}"
    place = f"{key}{value}: " if key else ""
    stop = "" if message.endswith((".", "?")) else "."
    return f"{place}{message[:1].lower() + message[1:]}{stop}{more}"


def _keys(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at this place of the recipe."""
    for part in path:
        if isinstance(part, int):
            continue
        field = next((f for name, f in kind.model_fields.items() if part in {name, f.alias}), None)
        if field is None:
            continue  # a name in a table of settings, such as a class
        models = [m for m in _flat(field.annotation) if isinstance(m, type) and issubclass(m, BaseModel)]
        if not models:
            return []
        kind = models[0]
    return [field.alias or name for name, field in kind.model_fields.items()]


def _flat(annotation: Any) -> list[Any]:
    """The types inside a type: tuple[Train, ...] → Train."""
    inner = get_args(annotation)
    return [annotation, *(leaf for part in inner for leaf in _flat(part))]
