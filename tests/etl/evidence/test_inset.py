"""The story of a shard set's data: that of its own curation, not of the one in force; or that it is gone."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

from etl.evidence.inset import OTHER, PRUNED, curation, data_story
from manifests.pages.fragments import nested
from manifests.store import DatasetStore
from tests.etl.evidence.made import evidence, photo, planted
from tests.makers import brought, class_folders, recipe, write
from tests.pages import addresses, section


def store(place: Path) -> DatasetStore:
    return DatasetStore(place / "store" / "made")


def source(place: Path) -> Path:
    """Two classes of five and seven images; the third of `b` is there twice, the fourth also as an `a`."""
    root = class_folders(place / "photos", {"a": 5, "b": 7})
    write(root, {"b/again.png": (root / "b/002.png").read_bytes(), "a/taken.png": (root / "b/003.png").read_bytes()})
    return root


def transformed(place: Path, root: Path, **curate: object) -> str:
    """The key of the shard set of these settings."""
    return brought(recipe(root, curate={"split": "0.5,0.25,0.25"} | curate), place / "store")["transform"].key


def told(place: Path, key: str) -> str:
    """What a reader sees of the story, told beside a run."""
    body = data_story(store(place), key, store(place).root / "runs" / "first" / "key").body
    return section(f'<section id="data">{body}</section>', "data")


class TestWhose:
    """The story is that of these shards."""

    def test_it_is_of_the_curation_that_the_shards_came_from_and_not_of_the_one_in_force(self, tmp_path: Path):
        root = source(tmp_path)
        first, second = transformed(tmp_path, root), transformed(tmp_path, root, max_per_class=3)
        assert "11 of 14 files found are kept" in told(tmp_path, first)
        assert "6 of 14 files found are kept" in told(tmp_path, second)

    def test_shards_that_nobody_knows_have_none(self, tmp_path: Path):
        assert curation(store(tmp_path), "0123456789abcdef") is None

    def test_a_pruned_curation_is_said_to_be_gone(self, tmp_path: Path):
        key = transformed(tmp_path, source(tmp_path))
        shutil.rmtree(store(tmp_path).root / "curate")
        story = data_story(store(tmp_path), key, tmp_path)
        assert PRUNED in section(f'<section id="data">{story.body}</section>', "data")
        assert story.style == ""

    def test_so_is_one_whose_views_are_pruned(self, tmp_path: Path):
        key = transformed(tmp_path, source(tmp_path))
        shutil.rmtree(store(tmp_path).root / "augment")
        assert PRUNED in told(tmp_path, key)

    def test_settings_of_another_version_are_no_error(self, tmp_path: Path):
        key = transformed(tmp_path, source(tmp_path))
        (file,) = (store(tmp_path).root / "curate").glob("*/stage.json")
        stage = json.loads(file.read_text("utf-8"))
        file.write_text(json.dumps(stage | {"settings": {"of": "tomorrow"}}), "utf-8")
        assert OTHER in told(tmp_path, key)


class TestWhat:
    """Funnel, classes, and some clusters; the rest is a link away."""

    def test_it_shows_the_funnel_the_classes_and_copies_and_conflicts(self, tmp_path: Path):
        found = told(tmp_path, transformed(tmp_path, source(tmp_path)))
        assert re.search(r"Duplicates −1 7\.1 % 13", found.replace("\u202f", " "))
        assert re.search(r"Label conflicts −2 14\.3 % 11", found.replace("\u202f", " "))
        assert "The classes are" in found
        assert "1 copy in 1 cluster was left out." in found
        assert "1 cluster shows the same under different classes." in found

    def test_its_numbers_are_those_of_the_funnel(self, tmp_path: Path):
        key = transformed(tmp_path, source(tmp_path))
        counts = store(tmp_path).published("curate")[0].counts
        text = data_story(store(tmp_path), key, tmp_path).numbers
        rows = [(row["what"], row["name"], int(row["images"])) for row in csv.DictReader(io.StringIO(text))]
        assert rows[0] == ("found", "", 14)
        assert {name: images for what, name, images in rows if what == "left out"} == counts["rejected"]
        assert {name: images for what, name, images in rows if what == "found as"} == {"a": 6, "b": 8}
        kept = {(name, what): images for what, name, images in rows if what in {"train", "val", "test"}}
        per_class = {
            (row["class"], split): row[split] for row in counts["per_class"] for split in ("train", "val", "test")
        }
        assert kept == {place: images for place, images in per_class.items() if images}

    def test_its_links_lead_to_the_page_of_the_curation(self, tmp_path: Path):
        key = transformed(tmp_path, source(tmp_path))
        run = store(tmp_path).root / "runs" / "first" / "key"
        links = [a for a in addresses(data_story(store(tmp_path), key, run).body) if not a.startswith("data:")]
        stage = curation(store(tmp_path), key)
        assert stage is not None
        page = store(tmp_path).folder("curate", stage.key) / "curation.html"
        assert {link.partition("#")[2] for link in links} == {"", "duplicates", "conflicts"}
        run.mkdir(parents=True)
        assert {(run / link.partition("#")[0]).resolve() for link in links} == {page.resolve()}
        names = set(re.findall(r'<section id="(\w+)"', page.read_text("utf-8")))
        assert {"duplicates", "conflicts"} <= names

    def test_copies_are_shown_as_pictures_and_as_places_where_the_source_is_away(self, tmp_path: Path):
        root = source(tmp_path)
        key = transformed(tmp_path, root)
        assert data_story(store(tmp_path), key, tmp_path).body.count("<img") == 4
        shutil.rmtree(root)
        assert data_story(store(tmp_path), key, tmp_path).body.count("<img") == 0
        assert "source away" in told(tmp_path, key)

    def test_nothing_to_tell_of_copies_is_said(self, tmp_path: Path):
        root = class_folders(tmp_path / "photos", {"a": 4, "b": 4})
        assert "No image is a copy of another one." in told(tmp_path, transformed(tmp_path, root))
        assert "Copies were not looked for." in told(tmp_path, transformed(tmp_path, root, dedupe="off"))

    def test_names_are_escaped(self, tmp_path: Path):
        name = "<img src=x>"
        root = class_folders(tmp_path / "photos", {name: 5, "b": 4})
        write(root, {f"{name}/again.png": (root / name / "000.png").read_bytes()})
        body = data_story(store(tmp_path), transformed(tmp_path, root), tmp_path).body
        assert "<img src=x" not in body
        assert name in section(f'<section id="data">{body}</section>', "data")

    def test_what_is_styled_can_stand_inside_a_section(self, tmp_path: Path):
        style = data_story(store(tmp_path), transformed(tmp_path, source(tmp_path)), tmp_path).style
        assert ".flow > li" in nested(style, "#data")
        assert not re.search(r":root|@import|@font-face|@keyframes|&gt;", style)
        assert style.count("{") == style.count("}")


def test_the_page_of_the_curation_draws_the_same_funnel(tmp_path: Path):
    from etl.evidence.sections import answer

    body = answer.render(evidence(planted(), photo, min_side=30, max_per_class=8))
    assert body.count('<ol class="flow"') == 1
    assert 'href="#duplicates"' in body
