from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.sources.layouts import NO_FILE, NO_LABEL, Options
from manifests.errors import Exit, UserError
from tests.etl.sources.making import Tree, images, labels, reading, rows

DOGS = images("train/a1.jpg", "train/b2.jpg", "train/c3.jpg")
TABLE = "id,breed\na1,pug\nb2,boxer\nc3,pug\n"
LABELS = {"train/a1.jpg": "pug", "train/b2.jpg": "boxer", "train/c3.jpg": "pug"}


def refusal(tree: Tree, options: Options | None = None) -> str:
    with pytest.raises(UserError) as refused:
        reading(tree, options)
    assert refused.value.code == Exit.USAGE
    return str(refused.value)


class TestNaming:
    """The list names files by relative path, by its end, by base name or by stem."""

    @pytest.mark.parametrize(
        ("form", "by"),
        [
            ("train/{}.jpg", "relative path"),
            ("./train\\{}.jpg", "relative path"),
            ("{}.jpg", "base name"),
            ("{}", "stem"),
            ("/old/place/{}.jpg", "base name"),
        ],
    )
    def test_files_are_found(self, form: str, by: str):
        table = "id,breed\n" + "".join(f"{form.format(Path(path).stem)},{label}\n" for path, label in LABELS.items())
        found = reading({**images(*(f"set/{path}" for path in LABELS)), "set/labels.csv": table})
        assert labels(found) == {f"set/{path}": label for path, label in LABELS.items()}
        assert found.metadata == ["set/labels.csv"]
        assert f"names the files by {by}" in found.because

    def test_the_end_of_a_path_is_enough_where_base_names_are_not(self):
        tree = images("x/cat/1.jpg", "y/dog/1.jpg")
        found = reading({**tree, "labels.csv": "file,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n"})
        assert labels(found) == {"x/cat/1.jpg": "cat", "y/dog/1.jpg": "dog"}

    def test_letters_with_accents_match_however_they_are_composed(self):
        found = reading({**images("n\u0303.jpg", "b.jpg"), "l.csv": "file,label\n\u00f1.jpg,x\nb.jpg,y\n"})
        assert labels(found) == {"b.jpg": "y", "n\u0303.jpg": "x"}

    def test_a_stem_with_two_files_is_refused(self):
        tree = {**images("x/a1.jpg", "y/a1.jpg", "y/b2.jpg"), "labels.csv": "id,label\na1,pug\nb2,boxer\n"}
        assert refusal(tree) == (
            "labels.csv: 'a1' may be any of x/a1.jpg and y/a1.jpg (by stem). Write relative paths into the list."
        )

    def test_annotations_beside_images_do_not_confuse_stems(self):
        found = reading({**DOGS, "train/a1.xml": "", "labels.csv": TABLE})
        assert labels(found) == {**LABELS, "train/a1.xml": None}
        assert {row.problem for row in found.found} == {None}

    @given(st.permutations(range(30)), st.integers(1, 30))
    def test_a_number_may_be_stem_and_class(self, order: list[int], classes: int):
        table = "label,id\n" + "".join(f"{number % classes},{number}\n" for number in order)
        found = reading({**images(*(f"{number}.jpg" for number in order)), "labels.csv": table})
        assert labels(found) == {f"{number}.jpg": str(number % classes) for number in order}


class TestColumns:
    """Columns and header are found out, and said."""

    def test_a_header_is_found_and_said(self):
        found = reading({**DOGS, "labels.csv": TABLE})
        assert (
            found.because == "labels.csv (with a header): column 'id' names the files by stem, column 'breed' the class"
        )
        assert labels(found) == LABELS

    @pytest.mark.parametrize("table", ["a1,pug\nb2,boxer\nc3,pug\n", "zz,pug\na1,pug\nb2,boxer\nc3,pug\n"])
    def test_a_list_without_a_header_is_read_from_its_first_row(self, table: str):
        found = reading({**DOGS, "labels.csv": table})
        assert found.because == "labels.csv (no header): column 1 names the files by stem, column 2 the class"
        assert labels(found) == (LABELS | {"zz": "pug"} if "zz" in table else LABELS)

    def test_a_list_of_one_row(self):
        assert labels(reading({**images("a1.jpg"), "l.csv": "a1,pug"})) == {"a1.jpg": "pug"}
        assert labels(reading({**images("a1.jpg"), "l.csv": "id,breed\na1,pug"})) == {"a1.jpg": "pug"}

    def test_the_label_column_is_known_by_its_title(self):
        table = ",path,id,width,kind\n0,train/a1.jpg,a1,9,pug\n1,train/b2.jpg,b2,9,boxer\n2,train/c3.jpg,c3,9,pug\n"
        assert refusal({**DOGS, "l.csv": table}).startswith("l.csv: the class may be in 2 columns, 'width' and 'kind'")
        assert labels(reading({**DOGS, "l.csv": table.replace("kind", "Class Name")})) == LABELS

    def test_two_columns_of_files_are_refused(self):
        table = "photo,mask,label\na1.jpg,b2.jpg,x\nb2.jpg,c3.jpg,y\nc3.jpg,a1.jpg,z\n"
        assert refusal({**DOGS, "l.csv": table}) == (
            "l.csv: 'photo' and 'mask' all name files of the source. Say which: --image-column."
        )
        found = reading({**DOGS, "l.csv": table}, Options(image_column="MASK", label_column="3"))
        assert labels(found) == {"train/a1.jpg": "z", "train/b2.jpg": "x", "train/c3.jpg": "y"}

    def test_columns_are_named_or_numbered(self):
        table = "a1,x,pug\nb2,y,boxer\nc3,z,pug\n"
        assert labels(reading({**DOGS, "l.csv": table}, Options(image_column="1", label_column="3"))) == LABELS
        assert refusal({**DOGS, "l.csv": table}, Options(label_column="4")).startswith(
            "--label-column 4: l.csv has no such column. Known: a1, x, pug."
        )
        assert refusal({**DOGS, "l.csv": TABLE}, Options(label_column="bread")).endswith("Did you mean 'breed'?")

    def test_a_split_column_is_honoured(self):
        table = "id,breed,Set\na1,pug,TRAIN\nb2,boxer,valid\nc3,pug,\n"
        found = reading({**DOGS, "l.csv": table})
        assert found.because.endswith("column 'breed' the class, column 'Set' the split")
        assert [row.split for row in found.found] == ["train", "val", None]

    def test_a_split_column_with_other_words_is_noted(self):
        found = reading({**DOGS, "l.csv": "id,breed,usage\na1,pug,Training\nb2,boxer,PublicTest\nc3,pug,\n"})
        assert [row.split for row in found.found] == [None, None, None]
        assert found.notes == ["column 'usage' of l.csv is not read as the split: it says PublicTest"]

    def test_a_mapping_names_the_labels(self):
        tree = {**DOGS, "l.tsv": "id\tlabel\na1\t0\nb2\t1\nc3\t0\n", "names.txt": "pug 0\nboxer 1\n"}
        found = reading(tree, Options(mapping="names.txt"))
        assert labels(found) == LABELS
        assert found.metadata == ["l.tsv", "names.txt"]


class TestRows:
    """Every file and every label is accounted for."""

    def test_what_is_only_on_one_side_is_said(self):
        found = reading({**DOGS, **images("test/d4.jpg", "notes.md"), "labels.csv": TABLE + "e5,pug\nf6,\n"})
        assert rows(found)[:2] == [("e5", "pug", None, NO_FILE), ("f6", None, None, NO_FILE)]
        assert rows(found)[2:4] == [("notes.md", None, None, None), ("test/d4.jpg", None, None, NO_LABEL)]
        assert found.notes == [
            "1 file without a label, such as test/d4.jpg",
            "2 files listed but not there, such as e5",
        ]

    def test_a_file_with_two_labels_has_neither(self):
        found = reading({**DOGS, "labels.csv": TABLE + "a1,dog\na1,cat\nb2,boxer\nb2,\n"})
        assert rows(found) == [
            ("train/a1.jpg", None, None, "3 labels in labels.csv: cat, dog, pug"),
            ("train/b2.jpg", "boxer", None, None),
            ("train/c3.jpg", "pug", None, None),
        ]
        assert found.notes == [
            "1 row of labels.csv that repeat an earlier one",
            "1 file that labels.csv contradicts itself on, such as train/a1.jpg",
        ]

    def test_two_labels_are_both_named(self):
        found = reading({**images("1.jpg", "2.jpg"), "labels.csv": "1,dog\n1,cat\n2,cat\n"})
        assert rows(found)[0] == ("1.jpg", None, None, "two labels in labels.csv: cat, dog")

    def test_an_empty_label_is_none(self):
        found = reading({**DOGS, "labels.csv": "id,breed\na1,\nb2,boxer\nc3,pug\n"})
        assert rows(found)[0] == ("train/a1.jpg", None, None, NO_LABEL)


class TestWhichList:
    """The list is found, or pointed at."""

    def test_two_lists_that_fit_are_refused(self):
        tree = {**DOGS, "labels.csv": TABLE, "sample.csv": TABLE, "ids.csv": "id\na1\nb2\nc3\n", "x.csv": "q,r\n1,2\n"}
        assert refusal(tree) == "SOURCE: labels.csv and sample.csv fit as label lists. Say which: --labels FILE."
        found = reading(tree, Options(labels="labels.csv"))
        assert found.metadata == ["labels.csv"]
        assert [path for path in labels(found) if path.endswith(".csv")] == ["ids.csv", "sample.csv", "x.csv"]

    def test_an_incidental_table_does_not_hide_class_folders(self):
        tree = images(*(f"{name}/{number}.jpg" for name in "abc" for number in range(9)))
        assert reading({**tree, "classes.csv": "id,name\n0,a\n1,b\n2,c\n"}).layout == "class-folders"

    def test_a_list_outside_the_source_may_be_given(self, tmp_path: Path):
        (tmp_path / "mine.csv").write_text("id,breed\na1,pug\n", "utf-8")
        found = reading(DOGS, Options(labels=str(tmp_path / "mine.csv")))
        assert (found.metadata, labels(found)["train/a1.jpg"]) == ([], "pug")

    def test_a_list_that_is_not_there_is_refused(self, tmp_path: Path):
        message = refusal({**DOGS, "labels.csv": TABLE}, Options(labels="label.csv"))
        assert message == "--labels label.csv: no such file in SOURCE. Known: labels.csv. Did you mean 'labels.csv'?"
        assert "cannot be read" in refusal(DOGS, Options(labels=str(tmp_path / "gone.csv")))

    @pytest.mark.parametrize(
        ("table", "why"),
        [
            ("", "it is empty"),
            ("id,breed\nx,y\n", "no column names files of the source"),
            ("id\na1\n", "it has no column for the class"),
        ],
    )
    def test_a_given_list_that_says_nothing_is_refused(self, table: str, why: str):
        assert refusal({**DOGS, "l.csv": table}, Options(labels="l.csv")).startswith(f"--labels l.csv: {why}")
