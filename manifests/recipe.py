"""The recipe: what is asked of every stage, validated before any work starts.

One class a stage. A field's comment-like description is its help on the command line, in `docs/cli.md` and in errors;
`manifests.flags` makes the command line's options of the same fields. Nothing here knows a data set or a model.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from manifests.errors import known
from manifests.learning import Reported as Reported  # so that who reads recipes finds all of it here
from manifests.learning import Train as Train
from manifests.pixels import Channels, Dtype, Interpolation, Normalise, Resize
from manifests.settings import COMMAND_LINE as COMMAND_LINE
from manifests.settings import NAME as NAME
from manifests.settings import Faults, Names, Pairs, Settings, absolute_path, checked, explain, read_toml

SPLITS = ("train", "val", "test")
RECIPES = Path(__file__).with_name("recipes")  # those that come along
DEDUPE = {"near": 64, "phash": 4, "dhash": 24, "exact": 0, "off": 0}  # method → default radius in bits
DEDUPE_BITS = {"near": 512, "phash": 64, "dhash": 256}  # method → bits compared


class Source(Settings):
    """One folder or archive; with a class of its own where the folders do not say it."""

    path: str
    class_name: str | None = Field(default=None, alias="class")
    sample: int | None = Field(default=None, ge=1)


def _sources(value: Any) -> Any:
    """A path, `CLASS=PATH`, or a list of them or of tables."""
    parts = [value] if isinstance(value, str | dict) else value
    if not isinstance(parts, list | tuple):
        return parts
    return [_source(part) if isinstance(part, str) else part for part in parts]


def _source(text: str) -> dict[str, str]:
    name, sign, path = text.partition("=")
    return {"class": name, "path": path} if sign and not Path(text).exists() else {"path": text}


class Extract(Settings):
    source: Annotated[tuple[Source, ...], BeforeValidator(_sources)] = Field(
        default=(), description="Folders or archives; CLASS=PATH gives all images of PATH one class."
    )
    sample: int | None = Field(default=None, ge=1, description="Random images taken of each source; default: all.")
    layout: str | None = Field(default=None, description="Layout to read the source by; default: found by itself.")
    labels: str | None = Field(default=None, description="Label list (CSV or TSV), in the source or elsewhere.")
    image_column: str | None = Field(
        default=None, description="Column of the label list that names images, by name or number."
    )
    label_column: str | None = Field(
        default=None, description="Column of the label list that names classes, by name or number."
    )
    mapping: str | None = Field(default=None, description="Two columns that turn ids into class names.")
    background: str = Field(
        default="#ffffff", pattern=r"^#[0-9a-fA-F]{6}$", description="Colour under transparent pixels, as #rrggbb."
    )
    max_pixels: int = Field(default=100_000_000, ge=1, description="Pixels above which an image is refused unopened.")
    turned: bool = Field(default=False, description="Hash each image mirrored and turned as well, for curate --turned.")
    seed: int = Field(default=0, ge=0, description="Seed of the random sample.")

    @property
    def name(self) -> str:
        """A name for the data set after its first source, without what a path cannot hold."""
        first = Path(self.source[0].path).resolve().name if self.source else ""
        return re.sub(r"[^\w.+-]+", "-", first.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")) or "data"

    def absolute(self) -> Self:
        sources = tuple(each.model_copy(update={"path": str(Path(each.path).absolute())}) for each in self.source)
        # A list is looked for in the source first; one that lies elsewhere keeps its meaning as an absolute path.
        lists = {name: absolute_path(getattr(self, name)) for name in ("labels", "mapping")}
        return self.model_copy(update={"source": sources, **lists})


class Curate(Settings):
    classes: Names = Field(
        default=(), description="Classes to keep, in this order: a,b or @FILE; default: all, sorted."
    )
    rename: Pairs = Field(default={}, description="Rename or merge classes: gatto=cat,micio=cat.")
    max_per_class: int | None = Field(
        default=None, ge=1, description="Images kept of a class; of each given split by itself."
    )
    min_per_class: int | None = Field(default=None, ge=1, description="Fewest images a class may have.")
    drop_small_classes: bool = Field(
        default=False, description="Leave out classes under --min-per-class, instead of stopping."
    )
    min_side: int | None = Field(default=None, ge=1, description="Fewest pixels of the shorter side.")
    dedupe: str = Field(
        default="near:64",
        description="Duplicates: near:BITS (phash 256 + dhash 256), phash:BITS, dhash:BITS, exact or off.",
    )
    turned: bool = Field(
        default=False, description="Find mirrored and quarter-turned copies too; needs extract --turned."
    )
    on_conflict: Literal["reject", "keep"] = Field(
        default="reject", description="Copies under several classes: reject them all, or keep the best with its class."
    )
    faults: Faults = Field(
        default={},
        description="Bad pictures to leave out, with a limit or the usual one: dark,blurred:60. See --explain.",
    )
    reject: Names = Field(
        default=(), description="CSV files of decisions by hand, or of images to leave out: path or sha256, reason."
    )
    split: str = Field(
        default="auto",
        description="Fractions train,val or train,val,test; given: the source's; auto: given if any, else 0.8,0.2.",
    )
    given_as: Pairs = Field(default={}, description="Use a given split as another: val=test.")
    val_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="Of the given train, where val is missing and must be carved."
    )
    seed: int = Field(default=0, ge=0, description="Seed of the cap and the split.")

    def absolute(self) -> Self:
        return self.model_copy(update={"reject": tuple(str(Path(file).absolute()) for file in self.reject)})

    @field_validator("dedupe")
    @classmethod
    def _known_method(cls, value: str) -> str:
        method, _, radius = value.partition(":")
        if method not in DEDUPE:
            raise ValueError(f"unknown method {method!r}. {known(method, DEDUPE)}")
        if method in {"exact", "off"}:
            if radius:
                raise ValueError(f"{method} takes no radius")
            return method
        radius = radius or str(DEDUPE[method])
        if not radius.isdecimal() or int(radius) >= DEDUPE_BITS[method]:
            raise ValueError(f"the radius is a number of bits from 0 to {DEDUPE_BITS[method] - 1}, not {radius!r}")
        return f"{method}:{int(radius)}"

    @model_validator(mode="after")
    def _turned_needs_wide_hashes(self) -> "Curate":
        if self.turned and self.dedupe.partition(":")[0] not in {"near", "dhash"}:
            raise ValueError("turned copies are found by dedupe = near or dhash only")
        return self

    @field_validator("split")
    @classmethod
    def _fractions(cls, value: str) -> str:
        if value not in {"auto", "given"}:
            parts = fractions(value)
            if len(parts) not in {2, 3} or min(parts) <= 0 or not abs(sum(parts) - 1) <= 1e-6:
                raise ValueError("two or three fractions above 0 that add up to 1 (0.8,0.2), or given, or auto")
        return value

    @field_validator("given_as")
    @classmethod
    def _splits(cls, value: dict[str, str]) -> dict[str, str]:
        for name in (*value, *value.values()):
            if name not in SPLITS:
                raise ValueError(f"unknown split {name!r}. {known(name, SPLITS)}")
        return value


def fractions(split: str) -> tuple[float, ...]:
    """`0.7,0.15,0.15` as numbers. Raises ValueError for anything else."""
    try:
        return tuple(float(part) for part in split.split(","))
    except ValueError:
        raise ValueError("two or three fractions (0.8,0.2), or given, or auto") from None


Policy = str | dict[str, Any]  # a preset or list by name (`light`, `rotate:15,flip`), or operation → its strength


class ClassAugment(Settings):
    """What one class gets instead of the general rule."""

    copies: int | None = Field(default=None, ge=0)
    policy: Policy | None = None


class Augment(Settings):
    copies: int = Field(default=0, ge=0, description="Augmented copies of each training image.")
    policy: Policy = Field(
        default="light", description="light, strong, or operations: rotate:15,flip:horizontal,brightness:0.2."
    )
    balance_to: int | None = Field(
        default=None, ge=1, description="Give smaller classes copies until they have this many views."
    )
    classes: dict[str, ClassAugment] = Field(default={}, json_schema_extra={"recipe_only": True})
    seed: int = Field(default=0, ge=0, description="Seed of the drawn parameters.")


def _size(value: Any) -> Any:
    """224, "224" or "200x320" (height × width) as (height, width)."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, str):
        if not (match := re.fullmatch(r"(\d+)(?:[x×](\d+))?", value.strip())):
            raise ValueError("a number of pixels (224) or height x width (200x320)")
        return int(match[1]), int(match[2] or match[1])
    return value


Side = Annotated[int, Field(ge=1, le=8192)]


class Transform(Settings):
    size: Annotated[tuple[Side, Side], BeforeValidator(_size)] = Field(
        default=(224, 224), description="Pixels: 224, or height x width: 200x320."
    )
    resize: Resize = Field(
        default="crop", description="crop fills and cuts the middle, pad fits and fills, squash ignores the aspect."
    )
    interpolation: Interpolation = Field(default="bilinear", description="Filter of the one resize, antialiased.")
    channels: Channels = Field(default="rgb", description="Colour or grey.")
    dtype: Dtype = Field(default="uint8", description="uint8: the run normalises; float shards are stored normalised.")
    normalise: Normalise | None = Field(
        default=None, validate_default=True, description="For float shards; with uint8 it belongs to train."
    )
    shard_mb: int = Field(default=32, ge=1, description="Megabytes of a shard file at the most.")

    @model_validator(mode="after")
    def _normalised_once(self) -> "Transform":
        if self.dtype == "uint8" and self.normalise is not None:
            raise ValueError(
                "normalise belongs to the run where the shards are uint8: use train --normalise, or a float --dtype"
            )
        return self

    @field_validator("normalise")
    @classmethod
    def _imagenet_unless_said(cls, value: Normalise | None, info: ValidationInfo) -> Normalise | None:
        return "imagenet" if value is None and info.data.get("dtype", "uint8") != "uint8" else value


class Recipe(Settings):
    """A TOML file: one data set, its stages, its runs."""

    dataset: str = Field(pattern=NAME)
    about: str = ""
    differs: tuple[str, ...] = ()  # from the report that it repeats: a sentence each
    extract: Extract = Extract()
    curate: Curate = Curate()
    augment: Augment = Augment()
    transform: Transform = Transform()
    runs: tuple[Train, ...] = ()

    @model_validator(mode="after")
    def _runs_are_distinct(self) -> "Recipe":
        names = [str(each.run) for run in self.runs if run.run for each in run.repeated()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"runs: {twice[0]!r} stands twice; every run needs a name of its own")
        for number, run in enumerate(self.runs):
            place = f"runs.{run.run or number}"
            try:
                pixels = run_transform(self.transform, run)
            except ValidationError as error:
                raise ValueError(f"{place}.transform: {explain(Transform, error)}") from None
            if pixels.dtype != "uint8" and run.normalise not in {None, pixels.normalise}:
                raise ValueError(
                    f"{place}.normalise = {run.normalise!r}: the shards are {pixels.dtype}, stored normalised by "
                    f"{pixels.normalise}; leave it out, or transform to uint8"
                )
        return self

    @model_validator(mode="after")
    def _augmented_classes_are_kept(self) -> "Recipe":
        asked = [self.curate.rename.get(name, name) for name in self.curate.classes]
        for name in self.augment.classes if asked else ():
            if name not in asked:
                raise ValueError(f"augment.classes: no class {name!r} is asked for. {known(name, asked)}")
        return self

    def absolute(self) -> Self:
        stages = {"extract": self.extract.absolute(), "curate": self.curate.absolute()}
        return self.model_copy(update={**stages, "runs": tuple(run.absolute() for run in self.runs)})

    @property
    def every_run(self) -> list[Train]:
        """The runs, those of several seeds one by one. All must have names."""
        return [each for run in self.runs for each in run.repeated()]

    def with_run(self, run: Train) -> "Recipe":
        """With this run last, in place of what had its name; the other seeds of a group that it belonged to stay."""
        names = {each.run for each in run.repeated()}
        others: list[Train] = []
        for other in self.runs:
            each = other.repeated()
            is_apart = names.isdisjoint(one.run for one in each)
            others += [other] if is_apart else [one for one in each if one.run not in names]
        others = [other for other in others if other.run != run.run]
        return self.model_copy(update={"runs": (*others, run)})

    @property
    def transforms(self) -> list[Transform]:
        """The general transform, and those of runs that ask for pixels of their own; each once."""
        own = [run_transform(self.transform, run) for run in self.runs]
        needed = own if own and all(run.transform for run in self.runs) else [self.transform, *own]
        return [one for i, one in enumerate(needed) if one not in needed[:i]]


def run_transform(general: Transform, run: Train) -> Transform:
    """The transform of one run: the recipe's, with what the run states otherwise."""
    return Transform.model_validate(general.model_dump() | run.transform) if run.transform else general


STAGE_SETTINGS: dict[str, type[Settings]] = {
    "extract": Extract, "curate": Curate, "augment": Augment, "transform": Transform, "train": Train,
}  # fmt: skip


def read_recipe(file: Path) -> Recipe:
    """Read and validate a recipe. Raises UserError (exit 3) naming file, key, value and the nearest known word."""
    return checked(Recipe, read_toml(file), str(file))
