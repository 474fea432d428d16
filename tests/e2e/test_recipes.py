"""The recipes that come along: what they state, what a typo in one says, what becomes of their sources in miniature,
and that each of their runs trains at its own architecture.
"""

import csv
import json
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import safetensors.torch
import timm
import torch
from torchvision import models

from etl import pipeline
from etl.steps import Site
from manifests.errors import Exit, UserError
from manifests.recipe import SPLITS, Recipe, Train, read_recipe, read_toml, run_transform
from manifests.shards import Index, read_index
from manifests.store import DatasetStore, Stage
from manifests.table import kept, read_table
from tests.standins import ANIMALS, FOOD, POKEMON, SKETCHES, STANDINS, WNIDS, word
from training import runs as training
from training.evaluate import evaluate
from training.folders import FACTS, METRICS
from training.report import write_report

RECIPES = Path("manifests/recipes")
SIZE = 32  # pixels of the miniatures' shards
EACH = [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in sorted(STANDINS)]

Rejected = dict[str, int]  # reason up to its colon → files
Sizes = tuple[int, int, int]  # images of a class in train, val, test


class Made(NamedTuple):
    """A recipe brought up to its shards on its stand-in."""

    recipe: Recipe
    dataset: DatasetStore
    done: dict[str, Stage]

    @property
    def images(self) -> pl.DataFrame:
        return read_table(self.dataset.folder("curate", self.done["curate"].key) / "images.parquet")

    @property
    def rejected(self) -> Rejected:
        return Counter(reason.partition(": ")[0] for reason in self.images["rejected"].drop_nulls())

    @property
    def sizes(self) -> dict[str, Sizes]:
        counts = Counter(kept(self.images).select("class", "split").iter_rows())
        names = self.done["curate"].counts["classes"]
        return {name: (counts[name, "train"], counts[name, "val"], counts[name, "test"]) for name in names}

    def shards(self, run: str | None = None) -> Path:
        """Of the recipe, or of a run that may ask for pixels of its own."""
        asked = next((each for each in self.recipe.runs if each.run == run), Train())
        wanted = run_transform(self.recipe.transform, asked)
        steps = pipeline.plan(self.recipe, self.dataset)
        keys = [str(step.key) for step in steps if step.settings == wanted]
        return self.dataset.folder("transform", keys[0])

    def shard_index(self, run: str | None = None) -> Index:
        return read_index(self.shards(run))

    def views(self, run: str | None = None) -> dict[str, int]:
        index = self.shard_index(run)
        return {split: index.rows(split) for split in SPLITS}


def asked(name: str, source: list[str], size: int = SIZE) -> dict[str, Any]:
    """The recipe's own settings, but for the source and the pixels."""
    values = read_toml(RECIPES / f"{name}.toml")
    values["extract"]["source"] = source
    values["transform"]["size"] = size
    for run in values["runs"]:
        if "transform" in run:
            run["transform"]["size"] = size // 2
    return values


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """A recipe brought up to its shards on its stand-in; once."""

    @cache
    def whole(name: str) -> Made:
        root = tmp_path_factory.mktemp(name)
        recipe = Recipe.model_validate(asked(name, STANDINS[name](root / "source")))
        dataset = DatasetStore(root / "store" / name)
        return Made(recipe, dataset, pipeline.bring(recipe, Site(dataset, workers=1)))

    return whole


class TestWhatTheyState:
    """Each recipe is valid, says how it is run, and states what its report states."""

    def test_each_report_has_a_recipe_and_a_stand_in(self):
        assert {file.stem for file in RECIPES.glob("*.toml")} == {*STANDINS, "demo"}

    @pytest.mark.parametrize("name", [*sorted(STANDINS), "demo"])
    def test_the_data_set_is_called_as_the_file_and_the_header_says_how_to_run_it(self, name: str):
        text = (RECIPES / f"{name}.toml").read_text("utf-8")
        header = text[: text.index("\n\ndataset")].splitlines()
        assert read_recipe(RECIPES / f"{name}.toml").dataset == name
        assert all(line.startswith("#") for line in header)
        command = "alacena demo" if name == "demo" else f"alacena run manifests/recipes/{name}.toml --source "
        assert any(line.removeprefix("#").strip().startswith(command) for line in header)
        assert [word for word in ("result", "time") if any(line.startswith(f"# {word} ") for line in header)] == [
            "result",
            "time",
        ]

    def test_the_figures_are_those_of_the_reports(self):
        stated = {
            (name, run.run): (run.reported.accuracy, run.reported.loss, run.reported.f1)
            for name in STANDINS
            for run in read_recipe(RECIPES / f"{name}.toml").runs
            if run.reported
        }
        assert stated == {
            ("food15", "scratch"): (0.5554, 1.4032, None),
            ("food15", "transfer"): (0.9229, 0.2989, None),
            ("animals5", "scratch-adam"): (0.92, None, None),
            ("animals5", "transfer"): (0.99, None, None),
            ("pokemon150", "densenet201"): (None, None, 0.86),
            ("pokemon150", "vgg16"): (None, None, 0.63),
            ("sketches250", "simple"): (0.4644, None, None),
            ("sketches250", "resnet18"): (0.5819, None, None),
            ("tinyimagenet200", "imagenet"): (0.7348, 1.1366, None),
            ("text2", "imagenet"): (0.4711, None, None),
        }

    @pytest.mark.parametrize("name", sorted(STANDINS))
    def test_a_frozen_backbone_has_weights_and_the_rest_learns(self, name: str):
        for run in read_recipe(RECIPES / f"{name}.toml").runs:
            assert (run.freeze, run.weights) in {("backbone", "default"), ("none", "default"), ("none", "none")}
            assert run.unfreeze_after is None or run.run == "tuned"

    @pytest.mark.parametrize("name", sorted(STANDINS))
    def test_each_run_states_its_normalisation(self, name: str):
        assert all(run.normalise for run in read_recipe(RECIPES / f"{name}.toml").runs)

    @pytest.mark.parametrize("name", sorted(STANDINS))
    def test_each_says_how_it_differs_from_its_report_and_has_a_run_of_ours(self, name: str):
        recipe = read_recipe(RECIPES / f"{name}.toml")
        assert all(sentence.endswith(".") for sentence in recipe.differs)
        assert len(recipe.differs) >= 2
        assert [run.reported for run in recipe.runs if run.run == "tuned"] == [None]

    def test_the_two_reports_of_keras_wait_as_keras_does(self):
        waiting = {
            name for name in STANDINS for run in read_recipe(RECIPES / f"{name}.toml").runs if run.semantics == "keras"
        }
        assert waiting == {"animals5", "pokemon150"}


TYPOS = {
    "food15": ("max_per_class = 400", "max_per_clas = 400", "unknown key curate.max_per_clas. ", "max_per_class"),
    "animals5": ("plateau_epochs = 5", "plateau_epoch = 5", "unknown key runs.2.plateau_epoch. ", "plateau_epochs"),
    "pokemon150": ('pool = "flatten"', 'poll = "flatten"', "unknown key runs.1.poll. ", "pool"),
    "sketches250": ('channels = "gray"', 'chanels = "gray"', "unknown key transform.chanels. ", "channels"),
    "text2": ('class = "text" }', 'clas = "text" }', "unknown key extract.source.0.clas. ", "class"),
    "tinyimagenet200": ("[transform]", "[tranform]", "unknown key tranform. ", "transform"),
}
WRONG = {
    "food15": (
        'freeze = "backbone"',
        'freeze = "backbon"',
        "runs.1.freeze = 'backbon': ",
        "backbone, none, or a number",
    ),
    "animals5": ('optimizer = "sgd"', 'optimizer = "sdg"', "runs.1.optimizer = 'sdg': ", "'sgd'"),
    "pokemon150": ('schedule = "exponential"', 'schedule = "exponental"', "runs.0.schedule = ", "'exponential'"),
    "sketches250": ('channels = "gray"', 'channels = "grey"', "transform.channels = 'grey': ", "'gray'"),
    "text2": ('normalise = "half"', 'normalise = "halve"', "runs.1.normalise = 'halve': ", "'half'"),
    "tinyimagenet200": ('val = "test"', 'val = "tset"', "curate.given_as: unknown split 'tset'. ", "'test'"),
}


class TestTypos:
    """A typo is refused before any work, with the file, the key, the value and what was meant."""

    @pytest.mark.parametrize("name", sorted(STANDINS))
    def test_an_unknown_key_is_named_with_the_nearest(self, name: str, tmp_path: Path):
        right, typo, said, meant = TYPOS[name]
        message = _refused(name, right, typo, tmp_path)
        assert message.startswith(f"{tmp_path / 'typo.toml'}: {said}Known: ")
        assert message.endswith(f" Did you mean {meant!r}?")

    @pytest.mark.parametrize("name", sorted(STANDINS))
    def test_an_unknown_value_is_named_with_those_that_are_known(self, name: str, tmp_path: Path):
        right, typo, said, meant = WRONG[name]
        message = _refused(name, right, typo, tmp_path)
        assert message.startswith(f"{tmp_path / 'typo.toml'}: {said}")
        assert meant in message


def _refused(name: str, right: str, typo: str, folder: Path) -> str:
    text = (RECIPES / f"{name}.toml").read_text("utf-8")
    assert right in text
    (folder / "typo.toml").write_text(text.replace(right, typo, 1), "utf-8")
    with pytest.raises(UserError) as refused:
        read_recipe(folder / "typo.toml")
    assert refused.value.code == Exit.RECIPE
    return str(refused.value)


class TestStages:
    """Each recipe on its data set in miniature, up to the shards: classes in order, splits, views, caps, samples."""

    @pytest.mark.parametrize("name", EACH)
    def test_nothing_is_lost_and_the_shards_have_every_view(self, name: str, made: Callable[[str], Made]):
        found = made(name)
        images, counts = found.images, found.done["curate"].counts
        assert (
            images.height == found.done["extract"].counts["found"] == counts["kept"] + sum(counts["rejected"].values())
        )
        copies = found.recipe.augment.copies
        train, val, test = (sum(size) for size in zip(*found.sizes.values(), strict=True))
        assert found.views() == {"train": train * (1 + copies), "val": val, "test": test}
        assert found.shard_index().classes == tuple(found.sizes)
        assert (found.shard_index().contract.height, found.shard_index().contract.width) == (SIZE, SIZE)

    @pytest.mark.parametrize("name", EACH)
    def test_a_second_time_nothing_is_stale(self, name: str, made: Callable[[str], Made]):
        found = made(name)
        stale = [step.stage for step in pipeline.plan(found.recipe, found.dataset) if not step.is_fresh]
        assert stale == []

    @pytest.mark.xdist_group("food15")
    def test_food15(self, made: Callable[[str], Made]):
        found = made("food15")
        assert found.done["extract"].counts["layouts"] == ["class-folders: 34 class folders"]
        assert found.sizes == {
            "apple pie": (320, 80, 0),
            **dict.fromkeys(
                ("baked potato", "burger", "cheesecake", "crispy chicken", "donut", "fried rice", "fries", "hot dog",
                 "ice cream", "omelette", "pizza", "sandwich", "sushi", "taco"),
                (4, 1, 0),
            ),
        }  # fmt: skip
        assert list(found.sizes)[:3] == ["apple pie", "baked potato", "burger"]
        assert found.rejected == {"class not asked for": 5 * (len(FOOD) - 15), "over the cap": 4}
        assert {operation[0] for operation in _operations(found)} == {"rotate", "scale"}

    @pytest.mark.xdist_group("animals5")
    def test_animals5(self, made: Callable[[str], Made]):
        found = made("animals5")
        assert found.done["extract"].counts["layouts"] == ["class-folders: 10 class folders under raw-img"]
        assert list(found.sizes) == ["cat", "ragno", "butterfly", "elephant", "chicken"]
        assert set(found.sizes.values()) == {(8, 2, 0)}
        assert found.rejected == {"class not asked for": 10 * (len(ANIMALS) - 5), "unusable": 1}
        assert {operation[0] for operation in _operations(found)} == {"flip"}

    @pytest.mark.xdist_group("pokemon150")
    def test_pokemon150(self, made: Callable[[str], Made]):
        found = made("pokemon150")
        assert found.sizes == {name: (4 + index % 3, 1, 0) for index, name in enumerate(POKEMON)}
        assert found.rejected == {}

    @pytest.mark.xdist_group("sketches250")
    def test_sketches250(self, made: Callable[[str], Made]):
        found = made("sketches250")
        because = "sketches: 1,250 sketches in train.txt and 250 in test.txt, named by mapping.txt"
        assert found.done["extract"].counts["layouts"] == [because]
        assert found.sizes == dict.fromkeys(sorted(SKETCHES), (4, 1, 1))
        assert found.shard_index().contract.shape == (SIZE, SIZE, 1)
        given = kept(found.images)
        assert given.filter(pl.col("source_split") == "test")["split"].unique().to_list() == ["test"]
        assert set(given.filter(pl.col("source_split") == "train")["split"]) == {"train", "val"}
        assert found.rejected == {}

    @pytest.mark.xdist_group("tinyimagenet200")
    def test_tinyimagenet200(self, made: Callable[[str], Made]):
        found = made("tinyimagenet200")
        because = "tiny-imagenet: 200 classes of wnids.txt, named by words.txt"
        assert found.done["extract"].counts["layouts"] == [because]
        assert found.sizes == dict.fromkeys(map(word, WNIDS), (4, 1, 1))
        assert found.rejected == {"unusable": 7}
        test = kept(found.images).filter(pl.col("split") == "test")
        assert test["source_split"].unique().to_list() == ["val"]
        assert found.shard_index("imagenet-64").contract.height == SIZE // 2
        assert found.views("imagenet-64") == found.views()

    @pytest.mark.xdist_group("tinyimagenet200")
    def test_the_normalisations_share_their_shards(self, made: Callable[[str], Made]):
        found = made("tinyimagenet200")
        shared = {found.shards(run) for run in ("imagenet", "half", "none")}
        assert len(shared) == 1
        assert found.shards("imagenet-64") not in shared

    @pytest.mark.xdist_group("text2")
    def test_text2(self, made: Callable[[str], Made]):
        found = made("text2")
        assert found.sizes == {"text": (160, 40, 0), "no_text": (160, 40, 0)}
        assert found.rejected == {"not in the random sample": 6}
        assert set(kept(found.images)["path"].str.split("/").list.first()) == {"text", "no_text"}
        assert {operation[0] for operation in _operations(found)} == {"rotate"}


def _operations(found: Made) -> list[list[Any]]:
    rows = read_table(found.shards() / "rows.parquet")
    return [operation for text in rows["parameters"].unique() for operation in json.loads(text)]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several workers with several threads each wait for one another more than they work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """A file of random weights for a model by name, as its library would have them; once each."""
    folder = tmp_path_factory.mktemp("weights")

    @cache
    def file(model: str) -> str:
        library, _, name = model.partition("/")
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            net: Any = models.get_model(name) if library == "torchvision" else timm.create_model(name)
        safetensors.torch.save_file(net.state_dict(), folder / f"{name}.safetensors")
        return str(folder / f"{name}.safetensors")

    return file


SMALLEST = {"torchvision/inception_v3": 80}  # pixels that an architecture cannot do without; else SIZE
RUNS = [
    pytest.param(name, run.run, marks=pytest.mark.xdist_group(name))
    for name in sorted(STANDINS)
    for run in read_recipe(RECIPES / f"{name}.toml").runs
]


class TestRuns:
    """Every run of every recipe, to its report: at its own architecture and frozen as it says, an epoch in each phase,
    on a few images, with random weights where it asks for the library's.
    """

    @pytest.mark.usefixtures("one_thread")
    @pytest.mark.parametrize(("name", "run"), RUNS)
    def test_to_its_report(self, name: str, run: str, made: Callable[[str], Made], weights: Callable[[str], str]):
        found = few(made(name), run, weights)
        (settings,) = found.recipe.runs
        folder = training.train(found.dataset, found.shards(run).name, settings, device="cpu")
        said = json.loads((folder / FACTS).read_text("utf-8"))
        assert said["rows"]["train"] == found.views(run)["train"] == 4 * len(found.sizes)
        assert list(said["classes"]) == list(found.sizes)
        assert (said["trainable"] < said["parameters"]) == (settings.freeze != "none")
        with (folder / METRICS).open() as metrics:
            epochs = list(csv.DictReader(metrics))
        assert len(epochs) == settings.epochs
        for epoch in epochs:
            assert 0 < float(epoch["learning_rate"]) <= settings.learning_rate
            assert 0 < float(epoch["train_loss"]) < math.inf
        figures = evaluate(folder, found.shards(run))
        assert figures.scores.images == found.views(run)[figures.split]
        assert "<h2" in write_report(folder, found.shards(run)).read_text("utf-8")


def few(whole: Made, run: str, weights: Callable[[str], str]) -> Made:
    """One run for an epoch in each of its phases, on five images of each of four classes."""
    recipe = whole.recipe
    (settings,) = (each for each in recipe.runs if each.run == run)
    short: dict[str, Any] = {"epochs": 1} if settings.unfreeze_after is None else {"epochs": 2, "unfreeze_after": 1}
    short["warmup_epochs"] = min(settings.warmup_epochs, 0.5)
    short["weights"] = "none" if settings.weights == "none" else weights(settings.model)
    size = SMALLEST.get(settings.model, SIZE)
    values = {
        "dataset": recipe.dataset,
        "extract": recipe.extract.asked(),
        "curate": recipe.curate.asked() | {"classes": list(whole.sizes)[:4], "max_per_class": 5},
        "transform": recipe.transform.asked() | {"size": size},
        "runs": [settings.asked() | short],
    }
    made = Recipe.model_validate(values)
    return Made(made, whole.dataset, pipeline.bring(made, Site(whole.dataset, workers=1)))
