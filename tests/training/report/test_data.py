"""The section of the data: the story that is handed in, and the augmented views from the shards."""

import json
from pathlib import Path

import numpy as np
import polars as pl
from markupsafe import Markup

from manifests.pages.sections import Inset
from manifests.shards import Index, create, describe, open_rows, read_index, write_index
from manifests.table import read_table, write_table
from tests.pages import Page, section
from tests.training.report.made import Made, contract, made
from training.report import write_report
from training.report.evidence import read_evidence
from training.report.sections.data import chosen, operations, said, strip

CLASSES = ("ant", "bee", "cow")


def with_views(place: Path, views: int, classes: tuple[str, ...] = CLASSES) -> Made:
    """Six images for training, each with so many augmented views, in the order in which shards keep them."""
    both = made(place, classes, splits={"train": 6, "test": 6}, evaluated=())
    table, index = read_table(both.shards / "rows.parquet"), read_index(both.shards)
    every = [image | {"view": view} for image in table.iter_rows(named=True) for view in range(1 + views)]
    rows = pl.DataFrame([row for row in every if row["split"] == "train" or row["view"] == 0])
    drawn = json.dumps([["flip", 0, 0], ["rotate", -7.897114], ["shift", 0.05, -0.0107]])
    number = pl.int_range(pl.len()).over("split").cast(pl.Int32)
    text = pl.when(pl.col("view") == 0).then(pl.lit("[]")).otherwise(pl.lit(drawn))
    write_table(rows.with_columns(row=number, parameters=text), both.shards / "rows.parquet")
    file = both.shards / "train-00000.safetensors"
    file.unlink()
    create(file, 6 * (1 + views), index.contract.shape, "uint8")
    open_rows(file, writable=True).images[:] = 4 * np.arange(6 * (1 + views), dtype=np.uint8)[:, None, None, None]
    splits = dict(index.splits) | {"train": (describe(file, 6 * (1 + views)),)}
    changed = index.model_copy(update={"splits": splits})
    write_index(changed, both.shards)
    return Made(_on(both.run, changed), both.shards)


def _on(run: Path, index: Index) -> Path:
    facts = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps(facts | {"data": index.digest}), "utf-8")
    return run


def text(both: Made, story: Inset | None = None) -> str:
    return section(write_report(*both, story).read_text("utf-8"), "data")


class TestStory:
    """What the curation's page drew stands in the report, with its style, and nowhere else."""

    def test_it_is_shown_as_it_was_drawn_and_styled_in_its_section_alone(self, tmp_path: Path):
        story = Inset(Markup('<ol class="flow"><li>drawn elsewhere</li></ol>'), Markup(".flow > li { color: red; }"))
        page = write_report(*made(tmp_path), story).read_text("utf-8")
        assert "drawn elsewhere" in section(page, "data")
        assert "#data {\n.flow > li { color: red; }\n}" in page

    def test_its_numbers_lie_beside_the_report_and_are_linked(self, tmp_path: Path):
        both = made(tmp_path)
        page = write_report(*both, Inset(Markup("x"), Markup(), "what,name,images\nfound,,3\n")).read_text("utf-8")
        assert 'Numbers: <a href="data.csv">' in page
        assert (both.run / "data.csv").read_text("utf-8") == "what,name,images\nfound,,3\n"

    def test_its_style_is_allowed_by_the_policy(self, tmp_path: Path):
        both = made(tmp_path)
        without, styled = (
            next(str(a["content"]) for tag, a in Page(page).tags if tag == "meta" and "http-equiv" in a)
            for page in (
                write_report(*both, story).read_text("utf-8")
                for story in (None, Inset(Markup("x"), Markup(".x { color: red }")))
            )
        )
        assert without != styled

    def test_without_one_it_says_so(self, tmp_path: Path):
        assert "written without the story of its images" in text(made(tmp_path))


class TestViews:
    """Some images for training beside their augmented views."""

    def test_it_counts_images_and_tensors(self, tmp_path: Path):
        found = text(with_views(tmp_path, 2))
        assert "6 images for training make 18 tensors: each as it is, and in 2 augmented views." in found
        assert "Drawn for each view: flip, rotate, shift." in found

    def test_an_image_comes_as_it_is_and_then_its_views_in_order(self, tmp_path: Path):
        evidence = read_evidence(*with_views(tmp_path, 7))
        rows = evidence.rows.filter(pl.col("path") == evidence.rows["path"][0])
        found = strip(evidence, rows.sample(fraction=1, shuffle=True, seed=0))
        assert [view.drawn for view in found.views] == ["", *["rotate -7.9, shift 0.05 -0.0107"] * 5]
        assert found.more == 2
        assert len({view.picture for view in found.views}) == 6

    def test_images_of_different_classes_come_first(self, tmp_path: Path):
        evidence = read_evidence(*with_views(tmp_path, 1))
        copies = evidence.rows.filter(pl.col("view") > 0)
        classes = dict(copies.select("path", "class").iter_rows())
        assert [classes[path] for path in chosen(copies)] == ["ant", "bee", "cow", "ant"]

    def test_no_views_are_no_sheet(self, tmp_path: Path):
        found = text(made(tmp_path, splits={"train": 1, "test": 2}))
        assert "1 image for training, each as it is: no augmented views were asked for." in found

    def test_shards_that_do_not_say_what_was_drawn_show_the_views_all_the_same(self, tmp_path: Path):
        both = with_views(tmp_path, 1)
        file = both.shards / "rows.parquet"
        write_table(read_table(file).drop("parameters"), file)
        assert "make 12 tensors: each as it is, and in 1 augmented view." in text(both)
        assert operations(read_table(file)) == []

    def test_what_changes_nothing_is_not_said(self):
        assert said({"parameters": '[["flip",0,0],["scale",1.0196]]'}) == "scale 1.02"
        assert said({"parameters": "[]"}) == ""

    def test_names_are_escaped(self, tmp_path: Path):
        page = write_report(*with_views(tmp_path, 1, ("<script>", "b", "c"))).read_text("utf-8")
        assert "<script" not in page
        assert "<script>" in section(page, "data")

    def test_it_stays_small_however_many_views_there_are(self, tmp_path: Path):
        both = made(tmp_path, pixels=contract(64))
        assert len(write_report(*both).read_text("utf-8")) < 500_000
