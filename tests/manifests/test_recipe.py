import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import Exit, UserError
from manifests.recipe import (
    STAGE_SETTINGS,
    Augment,
    ClassAugment,
    Curate,
    Extract,
    Recipe,
    Reported,
    Settings,
    Source,
    Train,
    Transform,
    checked,
    read_recipe,
)

FULL = """
dataset = "food"
about = "all that can be said"

[extract]
source = [{ path = "a", class = "x", sample = 3 }, "b"]
sample = 200
layout = "class-folders"
labels = "labels.csv"
image_column = "id"
label_column = "2"
mapping = "map.txt"
background = "#00ff7F"
max_pixels = 1000
turned = true
seed = 4

[curate]
classes = ["cat", "dog"]
rename = { gatto = "cat" }
max_per_class = 400
min_per_class = 3
drop_small_classes = true
min_side = 32
dedupe = "dhash:6"
turned = true
on_conflict = "keep"
faults = "dark,blurred:60"
reject = ["a.csv", "b.csv"]
split = "0.7,0.15,0.15"
given_as = { val = "test" }
val_fraction = 0.1
seed = 2

[augment]
copies = 2
policy = { rotate = 15, flip = "both" }
balance_to = 300
classes = { cat = { copies = 0 }, dog = { policy = "strong" } }
seed = 9

[transform]
size = "200x320"
resize = "pad"
interpolation = "lanczos"
channels = "gray"
dtype = "bfloat16"
normalise = "dataset"
shard_mb = 64

[[runs]]
name = "scratch"
model = "torchvision/resnet50"
head = [256]
schedule = "step"
reported = { accuracy = 0.55, loss = 1.4 }

[[runs]]
name = "small"
transform = { size = 64 }
"""


def source(path: str, name: str | None = None, sample: int | None = None) -> Source:
    return Source.model_validate({"path": path, "class": name, "sample": sample})


EVERY: list[Settings] = [
    source("a", "b", 3), source("a"), Extract(), Curate(), Augment(), ClassAugment(),
    ClassAugment(copies=0, policy={"rotate": 3.5}), Transform(), Train(), Reported(accuracy=0.5), Recipe(dataset="x"),
    Extract.model_validate({"source": ["a=b", "c"], "background": "#ABCDEF"}),
    Curate.model_validate({"classes": "a,b", "rename": "c=d", "dedupe": "near", "split": "0.5,0.5"}),
    Augment.model_validate({"policy": {"flip": "both"}, "classes": {"a": {"policy": "light"}}}),
    Transform.model_validate({"size": "3x4", "dtype": "float16"}),
    Train.model_validate({"name": "r", "head": "512,128", "transform": {"size": 9}, "reported": {"f1": 0.9}}),
]  # fmt: skip


def refusal(kind: type[Settings], **values: Any) -> str:
    with pytest.raises(UserError) as raised:
        checked(kind, values, "file.toml")
    assert raised.value.code == Exit.RECIPE
    assert "\n" not in str(raised.value)
    return str(raised.value)


def recipe_refusal(folder: Path, text: str) -> str:
    (folder / "r.toml").write_text(text)
    with pytest.raises(UserError) as raised:
        read_recipe(folder / "r.toml")
    assert raised.value.code == Exit.RECIPE
    return str(raised.value).replace(f"{folder}/", "")


class TestRoundTrip:
    """What is asked is plain JSON, and is the same when it is read again."""

    @pytest.mark.parametrize("settings", EVERY, ids=lambda each: type(each).__name__)
    def test_every_kind_of_settings(self, settings: Settings):
        text = json.dumps(settings.asked())
        assert type(settings).model_validate(json.loads(text)) == settings
        assert type(settings).model_validate(json.loads(text)).asked() == settings.asked()

    def test_every_kind_is_tried(self):
        kinds = {kind for kind in Settings.__subclasses__() if kind.__module__.startswith("manifests.")}
        assert {type(each) for each in EVERY} == kinds > set(STAGE_SETTINGS.values())

    def test_a_recipe_with_everything(self, tmp_path: Path):
        (tmp_path / "r.toml").write_text(FULL)
        read = read_recipe(tmp_path / "r.toml")
        assert Recipe.model_validate(json.loads(json.dumps(read.asked()))) == read
        assert read.extract.source == (source("a", "x", 3), source("b"))
        assert (read.curate.dedupe, read.curate.faults) == ("dhash:6", {"dark": None, "blurred": 60.0})
        assert read.augment.classes == {"cat": ClassAugment(copies=0), "dog": ClassAugment(policy="strong")}
        assert (read.transform.size, read.transform.normalise) == ((200, 320), "dataset")
        assert [run.run for run in read.runs] == ["scratch", "small"]
        for stage, kind in STAGE_SETTINGS.items():
            unset = set(kind.model_fields) - getattr(read, stage, read.runs[0]).model_fields_set
            assert unset == set() or stage == "train"

    def test_defaults_are_told_from_what_was_said(self):
        said = Transform.model_validate({"dtype": "float32", "size": 224})
        assert said.normalise == "imagenet"
        assert said.model_fields_set == {"dtype", "size"}


class TestReading:
    """A recipe that cannot be read is named, with the remedy."""

    def test_a_file_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(UserError) as raised:
            read_recipe(tmp_path / "no.toml")
        expected = f"{tmp_path}/no.toml: no such recipe. Those that come along are in manifests/recipes."
        assert (str(raised.value), raised.value.code) == (expected, Exit.USAGE)

    def test_what_is_not_toml(self, tmp_path: Path):
        assert recipe_refusal(tmp_path, "dataset =").startswith("r.toml: not valid TOML: ")
        (tmp_path / "r.toml").write_bytes(b"\xff")
        with pytest.raises(UserError, match="not valid TOML"):
            read_recipe(tmp_path / "r.toml")

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "dataset is missing"),
            ('dataset = "a b"', "dataset = 'a b': a name has letters, digits and . _ + - only, and no dot first."),
            ('datset = "x"', "dataset is missing (and 1 more)"),
            (
                'dataset = "x"\ncurat = {}',
                "unknown key curat. Known: dataset, about, differs, extract, curate, augment, transform, runs. "
                "Did you mean 'curate'?",
            ),
            (
                'dataset = "x"\n[curate]\ndedupe = "phsah:4"',
                "curate.dedupe = 'phsah:4': unknown method 'phsah'. Known: near, phash, dhash, exact, off. "
                "Did you mean 'phash'?",
            ),
            (
                'dataset = "x"\n[transform]\nresize = "corp"',
                "transform.resize = 'corp': unknown. Known: crop, pad, squash. Did you mean 'crop'?",
            ),
            (
                'dataset = "x"\n[[runs]]\nmodel = "simpel"',
                "runs.0.model = 'simpel': unknown. Known: simple, torchvision/NAME, timm/NAME. Did you mean 'simple'?",
            ),
            (
                'dataset = "x"\n[[runs]]\nname = "a"\n[[runs]]\nname = "a"',
                "runs: 'a' stands twice; every run needs a name of its own.",
            ),
            (
                'dataset = "x"\n[[runs]]\nname = "a"\ntransform = { sise = 3 }',
                "runs.a.transform: unknown key sise. Known: size, resize, interpolation, channels, dtype, "
                "normalise, shard_mb. Did you mean 'size'?",
            ),
            (
                'dataset = "x"\n[transform]\ndtype = "float32"\nnormalise = "half"\n[[runs]]\nnormalise = "imagenet"',
                "runs.0.normalise = 'imagenet': the shards are float32, stored normalised by half; "
                "leave it out, or transform to uint8.",
            ),
            (
                'dataset = "x"\n[curate]\nclasses = ["hat"]\n[augment.classes.hatt]\ncopies = 2',
                "augment.classes: no class 'hatt' is asked for. Known: hat. Did you mean 'hat'?",
            ),
            ('dataset = "../x"', "dataset = '../x': a name has letters, digits and . _ + - only, and no dot first."),
            (
                'dataset = "x"\n[[runs]]\nname = "a"\nfreeze = "backbone"',
                "runs.0: freeze = backbone with weights = none would keep random features; name weights or "
                "freeze = none.",
            ),
        ],
    )
    def test_what_is_wrong_is_named_with_key_value_and_the_nearest(self, tmp_path: Path, text: str, said: str):
        assert recipe_refusal(tmp_path, text) == f"r.toml: {said}"

    @pytest.mark.parametrize(
        ("text", "key", "nearest"),
        [
            ("[extract]\nsources = 'a'", "extract.sources", "source"),
            ("[curate]\nmax_per_clas = 3", "curate.max_per_clas", "max_per_class"),
            ("[augment.classes.cat]\ncopy = 3", "augment.classes.cat.copy", "copies"),
            ("[transform]\ninterpolate = 3", "transform.interpolate", "interpolation"),
            ("[[runs]]\nname = 'a'\nlearning_rat = 3", "runs.0.learning_rat", "learning_rate"),
            ("[[runs]]\nname = 'a'\nreported = { acuracy = 0.5 }", "runs.0.reported.acuracy", "accuracy"),
            ("[[extract.source]]\npath = 'a'\nclas = 'b'", "extract.source.0.clas", "class"),
        ],
    )
    def test_an_unknown_key_at_any_depth_names_the_nearest(self, tmp_path: Path, text: str, key: str, nearest: str):
        said = recipe_refusal(tmp_path, f'dataset = "x"\n{text}')
        assert said.startswith(f"r.toml: unknown key {key}. Known: ")
        assert said.endswith(f"Did you mean '{nearest}'?")

    def test_the_transform_of_a_run_is_checked_too(self, tmp_path: Path):
        said = recipe_refusal(tmp_path, 'dataset = "x"\n[[runs]]\nname = "a"\ntransform = { sise = 3 }')
        assert said.startswith("r.toml: ")
        assert "sise" in said


class TestSources:
    """A path, CLASS=PATH, or a list of them."""

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            ("a/b", [("a/b", None)]),
            ("text=a/b", [("a/b", "text")]),
            (["text=a", "no=b"], [("a", "text"), ("b", "no")]),
            ({"path": "a", "class": "x"}, [("a", "x")]),
            ([], []),
        ],
    )
    def test_forms(self, given_: Any, expected: list[tuple[str, str | None]]):
        found = Extract.model_validate({"source": given_}).source
        assert [(source.path, source.class_name) for source in found] == expected

    def test_a_folder_with_a_sign_in_its_name_is_a_folder(self, tmp_path: Path):
        (tmp_path / "a=b").mkdir()
        assert Extract.model_validate({"source": str(tmp_path / "a=b")}).source[0].class_name is None


class TestValues:
    """Text from a command line and values from a file come out the same."""

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [(224, (224, 224)), ("224", (224, 224)), ("200x320", (200, 320)), ("200×320", (200, 320)), ([5, 6], (5, 6))],
    )
    def test_sizes_are_height_and_width(self, given_: Any, expected: tuple[int, int]):
        assert Transform.model_validate({"size": given_}).size == expected

    @pytest.mark.parametrize("given_", ["big", "3x", "x3", "-3", "3x4x5", "", 0, 9000, [3], [3, 0]])
    def test_a_size_of_another_form_is_refused(self, given_: Any):
        assert refusal(Transform, size=given_).startswith("file.toml: size")

    def test_lists_come_from_text_or_a_file(self, tmp_path: Path):
        (tmp_path / "names").write_text("\ufeffcat\n\n# a comment\n hot dog \nñandú\n", "utf-8")
        assert Curate.model_validate({"classes": f"@{tmp_path}/names"}).classes == ("cat", "hot dog", "ñandú")
        assert Curate.model_validate({"classes": " cat , dog,"}).classes == ("cat", "dog")
        assert Curate.model_validate({"classes": ["a,b", "c"]}).classes == ("a,b", "c")

    def test_a_list_that_is_not_there_is_named(self, tmp_path: Path):
        said = refusal(Curate, classes=f"@{tmp_path}/no")
        assert (
            said == f"file.toml: classes = '@{tmp_path}/no': {tmp_path}/no cannot be read (No such file or directory)."
        )

    def test_dots_in_a_value_stay(self):
        said = refusal(Curate, classes="@../../no/such")
        assert said == (
            "file.toml: classes = '@../../no/such': ../../no/such cannot be read (No such file or directory)."
        )

    def test_pairs_come_from_text(self):
        assert Curate.model_validate({"rename": "gatto=cat, ragno = spider"}).rename == {
            "gatto": "cat",
            "ragno": "spider",
        }
        assert refusal(Curate, rename="gatto") == "file.toml: rename = 'gatto': 'gatto' is not of the form old=new."

    @pytest.mark.parametrize(
        ("given_", "expected"),
        [
            ("near", "near:64"), ("phash", "phash:4"), ("dhash", "dhash:24"), ("exact", "exact"), ("off", "off"),
            ("phash:0", "phash:0"), ("near:007", "near:7"), ("near:511", "near:511"),
        ],
    )  # fmt: skip
    def test_dedupe_has_a_radius_of_its_method(self, given_: str, expected: str):
        assert Curate(dedupe=given_).dedupe == expected

    @pytest.mark.parametrize(
        ("given_", "said"),
        [
            ("phash:64", "the radius is a number of bits from 0 to 63, not '64'"),
            ("near:-1", "the radius is a number of bits from 0 to 511, not '-1'"),
            ("dhash:x", "the radius is a number of bits from 0 to 255, not 'x'"),
            ("exact:3", "exact takes no radius"),
        ],
    )
    def test_another_radius_is_refused(self, given_: str, said: str):
        assert refusal(Curate, dedupe=given_) == f"file.toml: dedupe = '{given_}': {said}."

    @pytest.mark.parametrize("given_", ["auto", "given", "0.8,0.2", "0.7,0.15,0.15", "0.5, 0.5"])
    def test_splits_are_fractions_that_add_up(self, given_: str):
        assert Curate(split=given_).split == given_

    @pytest.mark.parametrize(
        "given_", ["", "0.8", "0.8,0.3", "1,0", "1.2,-0.2", "a,b", "0.25,0.25,0.25,0.25", "nan,0.5"]
    )
    def test_other_splits_are_refused(self, given_: str):
        assert refusal(Curate, split=given_).startswith(f"file.toml: split = '{given_}': two or three fractions")

    def test_a_split_that_nobody_knows_is_refused(self):
        said = "file.toml: given_as: unknown split 'tset'. Known: train, val, test. Did you mean 'test'?"
        assert refusal(Curate, given_as={"val": "tset"}) == said

    @pytest.mark.parametrize("given_", ["white", "#fff", "#gggggg", "ffffff"])
    def test_a_background_is_six_hex_digits(self, given_: str):
        assert refusal(Extract, background=given_).startswith(f"file.toml: background = '{given_}': ")


class TestNormalisedOnce:
    """uint8 shards are normalised by the run, float ones where they are stored."""

    def test_uint8_with_a_normalisation_is_refused(self):
        said = refusal(Transform, normalise="half")
        assert said == (
            "file.toml: normalise belongs to the run where the shards are uint8: use train --normalise, "
            "or a float --dtype."
        )

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
    def test_float_shards_are_imagenets_unless_said(self, dtype: Any):
        assert Transform(dtype=dtype).normalise == Transform.model_validate({"dtype": dtype}).normalise == "imagenet"
        assert Transform(dtype=dtype, normalise="none").normalise == "none"

    def test_uint8_has_none(self):
        assert Transform().normalise is None


class TestTransforms:
    """A run may ask for pixels of its own; each shard set is made once."""

    def test_runs_without_their_own_share_one(self):
        asked = Recipe.model_validate({"dataset": "x", "runs": [{"name": "a"}, {"name": "b"}]})
        assert asked.transforms == [Transform()]

    def test_own_ones_are_added(self):
        runs = [{"name": "a"}, {"name": "b", "transform": {"size": 64}}, {"name": "c", "transform": {"size": 64}}]
        asked = Recipe.model_validate({"dataset": "x", "transform": {"channels": "gray"}, "runs": runs})
        assert [(one.size[0], one.channels) for one in asked.transforms] == [(224, "gray"), (64, "gray")]

    def test_the_general_one_is_not_made_where_no_run_needs_it(self):
        asked = Recipe.model_validate({"dataset": "x", "runs": [{"name": "a", "transform": {"size": 64}}]})
        assert [one.size[0] for one in asked.transforms] == [64]


class TestAnything:
    """Whatever a file says, the answer is settings or one sentence."""

    @given(
        st.sampled_from(sorted(STAGE_SETTINGS)),
        st.dictionaries(
            st.sampled_from(sorted({name for kind in STAGE_SETTINGS.values() for name in kind.model_fields})),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(), st.text(max_size=8)),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)
                ),
                max_leaves=4,
            ),
            max_size=3,
        ),
    )
    def test_any_values(self, stage: str, values: dict[str, Any]):
        self.hold(stage, values)

    @pytest.mark.parametrize(
        "value", [None, True, -1, 0.5, float("nan"), "", "x", [], [None], [[]], ["x", 1], {}, {"x": None}, {"x": []}]
    )
    def test_every_setting_with_every_odd_value(self, value: Any):
        for stage, kind in STAGE_SETTINGS.items():
            for name in kind.model_fields:
                self.hold(stage, {name: value})

    def hold(self, stage: str, values: dict[str, Any]):
        try:
            settings = checked(STAGE_SETTINGS[stage], values, "file.toml")
        except UserError as error:
            assert str(error).startswith("file.toml: ")  # noqa: PT017
            assert error.code == Exit.RECIPE  # noqa: PT017
        else:
            assert type(settings).model_validate(settings.asked()) == settings
