from pathlib import Path

import pytest

from etl.story import lines, story
from manifests.errors import Exit, UserError
from manifests.store import Stage
from tests.makers import brought, class_folders, png_bytes, recipe, site, write


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def stages(place: Path) -> dict[str, Stage]:
    """Cats and dogs, with a copy, a file that is no image, and a decision by hand."""
    source = class_folders(place / "source", {"cat": 4, "dog": 4})
    write(source, {"cat/copy.png": png_bytes(40, 30, seed=0), "dog/bad.jpg": b"text"})
    write(place, {"d.csv": b"sha256,path,decision,class,reason,when\n,cat/002.png,relabel,dog,,\n"})
    return brought(recipe(source, curate={"reject": str(place / "d.csv")}, augment={"copies": 1}), place)


def told(image: str, place: Path, stages: dict[str, Stage]) -> str:
    return "\n".join(lines(story(image, site(place).dataset, stages)))


class TestStory:
    """What is known of an image: what it is, what was decided and why, its likes, its views."""

    def test_a_kept_image(self, place: Path, stages: dict[str, Stage]):
        said = told("cat/000.png", place, stages)
        assert "40×30 PNG (RGB)" in said
        assert "kept as 'cat' in " in said
        assert "same cluster: cat/copy.png (cat), 0 bits: duplicate: identical to cat/000.png" in said
        assert "view 0: " in said

    def test_a_rejected_one_and_one_that_could_not_be_read(self, place: Path, stages: dict[str, Stage]):
        assert "rejected: duplicate: identical to cat/000.png" in told("cat/copy.png", place, stages)
        assert "rejected: unusable: not an image" in told("dog/bad.jpg", place, stages)

    def test_what_a_person_decided(self, place: Path, stages: dict[str, Stage]):
        said = told("cat/002.png", place, stages)
        assert "the source says: class cat" in said
        assert "kept as 'dog' in " in said
        assert "a person decided: relabel dog" in said

    @pytest.mark.parametrize("name", ["./cat/001.png", "cat/001.png", "/somewhere/else/cat/001.png"])
    def test_the_path_its_end_or_a_place_on_disk_names_it(self, place: Path, stages: dict[str, Stage], name: str):
        assert told(name, place, stages).startswith("cat/001.png")

    def test_the_beginning_of_its_digest_names_it(self, place: Path, stages: dict[str, Stage]):
        sha256 = story("cat/001.png", site(place).dataset, stages)["image"]["sha256"]
        assert told(sha256[:8], place, stages).startswith("cat/001.png")

    @pytest.mark.parametrize(
        ("name", "words"),
        [("001.png", "2 images of made are meant: cat/001.png, dog/001.png; say"), ("cat/01.png", "Did you mean")],
    )
    def test_what_names_several_or_none_is_refused(self, place: Path, stages: dict[str, Stage], name: str, words: str):
        with pytest.raises(UserError) as raised:
            told(name, place, stages)
        assert words in str(raised.value)
        assert raised.value.code == Exit.USAGE

    def test_a_lookalike_is_told_from_both_sides(self, place: Path, stages: dict[str, Stage]):
        seen = story("cat/001.png", site(place).dataset, stages)
        seen["alike"] = [{"path": "x.png", "class": "cat", "split": "val", "like_bits": 81}]
        assert "resembles x.png (cat, val), 81 bits: no copy by the rules" in "\n".join(lines(seen))
