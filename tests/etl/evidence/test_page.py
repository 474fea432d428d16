"""The page is one file that says what became of every image, escapes what it is given and needs nothing else."""

import base64
import hashlib
import html
import re
from pathlib import Path

import pytest

from etl.evidence import sections
from etl.images import Unusable
from manifests.pages.sections import found_sections
from tests.etl.evidence.made import Read, evidence, photo, planted, write
from tests.makers import rows
from tests.pages import Page, addresses, section

HOSTILE = "<script>alert('1')</script>"


def page(place: Path, read: Read | None = photo, hostile: str = "b", name: str = "made") -> str:
    return write(place, evidence(planted(hostile), read, min_side=30, max_per_class=8), name)


class TestFile:
    """The file stands alone."""

    def test_nothing_in_it_points_outside(self, tmp_path: Path):
        text = page(tmp_path)
        found = addresses(text)
        assert len(found) > 20  # the links to sections and the pictures
        assert [a for a in found if not a.startswith(("#", "data:image/webp;base64,"))] == []
        assert "http" not in text.replace("http-equiv", "")
        assert set(re.findall(r"url\([^)]*\)", text)) == {"url(#fall)"}
        assert "@import" not in text

    def test_it_has_no_script_and_no_style_of_its_own_on_any_element(self, tmp_path: Path):
        tags = Page(page(tmp_path)).tags
        assert "script" not in {tag for tag, _ in tags}
        assert [name for _, attributes in tags for name in attributes if name == "style" or name.startswith("on")] == []

    def test_the_policy_allows_its_style_and_nothing_else(self, tmp_path: Path):
        text = page(tmp_path)
        style = re.search("<style>(.*?)</style>", text, re.DOTALL)
        assert style
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        policy = next(a["content"] for tag, a in Page(text).tags if tag == "meta" and "http-equiv" in a)
        assert policy == (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
        )

    def test_every_section_module_is_on_the_page_in_its_order(self, tmp_path: Path):
        tags = Page(page(tmp_path)).tags
        found = sorted((module.ORDER, name) for name, module in found_sections(sections).items())
        assert [a["id"] for tag, a in tags if tag == "section"] == [name for _, name in found]
        assert [name for _, name in found] == [
            "answer", "classes", "duplicates", "conflicts", "lookalikes", "rejected", "sizes", "settings",
        ]  # fmt: skip

    def test_every_link_leads_to_a_section_and_no_name_is_given_twice(self, tmp_path: Path):
        tags = Page(page(tmp_path)).tags
        names = [str(a["id"]) for _, a in tags if "id" in a]
        assert len(names) == len(set(names))
        assert {str(a["href"])[1:] for _, a in tags if "href" in a} <= set(names)

    def test_the_same_curation_gives_the_same_bytes(self, tmp_path: Path):
        assert page(tmp_path / "1") == page(tmp_path / "2")

    def test_the_order_of_the_files_does_not_matter_but_for_the_digest(self, tmp_path: Path):
        known = evidence(planted(), photo)
        turned = evidence(planted().reverse(), photo)
        pages = [write(tmp_path / str(n), each) for n, each in enumerate((known, turned))]
        digests = [re.findall("[0-9a-f]{64}", section(text, "settings")) for text in pages]
        assert digests[0] != digests[1]
        assert pages[0] == pages[1].replace(digests[1][0], digests[0][0])

    def test_names_of_classes_files_and_data_sets_are_escaped(self, tmp_path: Path):
        text = page(tmp_path, hostile=HOSTILE, name=HOSTILE)
        assert "<script" not in text
        assert f"<title>{html.escape(HOSTILE, quote=False)}" in text.replace("&#39;", "'")
        for name in ("classes", "conflicts", "rejected", "settings"):
            assert HOSTILE in section(text, name), name

    def test_it_names_every_reason_that_took_something(self, tmp_path: Path):
        known = evidence(planted(), photo, min_side=30, max_per_class=8)
        text = section(write(tmp_path, known), "rejected").lower()
        kinds = {"near duplicate", "label conflict", "unusable", "too small", "over the cap"}
        assert set(known.counts["rejected"]) == kinds
        assert [kind for kind in kinds if kind not in text] == []

    def test_two_hundred_and_fifty_classes_stay_small(self, tmp_path: Path):
        names = [f"class {n // 4:03}" for n in range(1000)]
        text = write(tmp_path, evidence(rows(path=[f"{n:04}.png" for n in range(1000)], label=names), photo))
        assert "250 classes, the most images kept first" in text
        assert "All 250 classes, in their order" in text
        assert len(text) < 400_000


class TestSums:
    """What the page says adds up."""

    def test_the_flow_adds_up_to_what_was_found(self, tmp_path: Path):
        text = page(tmp_path)
        found, kept = (int(n) for n in (re.findall(r"(\d+)</strong> of (\d+) files", text)[0])[::-1])
        gone = [int(n) for n in re.findall(r'class="out">−(\d+)<', text)]
        assert found == 30
        assert found == kept + sum(gone)
        assert gone == [1, 1, 2, 2, 4]  # unusable, too small, copies, conflicts, over the cap

    def test_the_splits_add_up_to_what_is_kept(self, tmp_path: Path):
        text = section(page(tmp_path), "answer")
        parts = re.findall(r"(?:train|val|test) (\d+)", text)
        kept = re.findall(r"(\d+) of 30 files", text)
        assert sum(map(int, parts)) == int(kept[0])


class TestEmpty:
    """A section without content says so in one sentence."""

    def test_nothing_to_show(self, tmp_path: Path):
        text = write(tmp_path, evidence(rows(path=["1.png", "2.png", "3.png"])))
        assert "Nothing was left out" in section(text, "answer")
        assert "No image is a copy of another one." in section(text, "duplicates")
        assert "No image stands under two classes." in section(text, "conflicts")
        assert "No kept image resembles another one" in section(text, "lookalikes")
        assert "Nothing was left out." in section(text, "rejected")
        assert "<img" not in text

    def test_copies_that_were_not_looked_for(self, tmp_path: Path):
        text = section(write(tmp_path, evidence(rows(path=["1.png", "2.png"]), dedupe="off")), "duplicates")
        assert "Copies were not looked for" in text

    def test_entries_that_name_no_image_are_named(self, tmp_path: Path):
        known = evidence(rows(path=["1.png", "2.png"]), unmatched=("gone.jpg (mine.csv:3)",))
        assert "gone.jpg (mine.csv:3)" in section(write(tmp_path, known), "rejected")


def unreadable(path: str) -> bytes:
    raise Unusable(f"unreadable: {path}")


def damaged(path: str) -> bytes:
    return photo(path)[:200]


class TestPictures:
    """Pictures come from the source; where it has none to give, a drawing says so."""

    def test_each_image_shown_has_its_picture_and_the_unusable_a_drawing(self, tmp_path: Path):
        tags = Page(page(tmp_path)).tags
        assert sum(tag == "img" for tag, _ in tags) > 10
        assert [a["aria-label"] for _, a in tags if a.get("class") == "absent"] == ["no picture"]

    @pytest.mark.parametrize(
        ("read", "word"),
        [(None, "source away"), (unreadable, "not readable now"), (damaged, "not readable now")],
    )
    def test_a_source_that_is_away_or_damaged_costs_the_pictures_and_not_the_page(
        self, tmp_path: Path, read: Read | None, word: str
    ):
        text = page(tmp_path, read)
        assert "<img" not in text
        assert f">{word}</text>" in text
        assert section(page(tmp_path, photo), "classes") == section(text, "classes")
