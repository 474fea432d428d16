from etl.sources.layouts import NO_LABEL, Options
from tests.etl.sources.making import images, labels, reading, rows


class TestClassFolders:
    """A folder for each class, whatever is deeper."""

    def test_the_first_folder_is_the_class(self):
        found = reading(images("cat/1.jpg", "cat/old/2.jpg", "dog/1.jpg"))
        assert (found.layout, found.because) == ("class-folders", "2 class folders")
        assert rows(found) == [
            ("cat/1.jpg", "cat", None, None),
            ("cat/old/2.jpg", "cat", None, None),
            ("dog/1.jpg", "dog", None, None),
        ]

    def test_one_folder_is_one_class(self):
        assert labels(reading(images("cats/1.jpg", "cats/2.jpg"))) == {"cats/1.jpg": "cats", "cats/2.jpg": "cats"}

    def test_wrappers_are_stripped_from_labels_and_kept_in_paths(self):
        found = reading(images("signs/Dataset/0/1.JPG", "signs/Dataset/1/1.JPG"))
        assert labels(found) == {"signs/Dataset/0/1.JPG": "0", "signs/Dataset/1/1.JPG": "1"}
        assert found.because == "2 class folders under signs/Dataset"

    def test_an_image_outside_every_class_is_a_file_without_a_label(self):
        found = reading(images("cat/1.jpg", "dog/1.jpg", "cover.jpg"))
        assert rows(found)[1] == ("cover.jpg", None, None, NO_LABEL)
        assert found.notes == ["1 file without a label, such as cover.jpg"]

    def test_other_files_do_not_disturb(self):
        found = reading({**images("cat/1.jpg", "cat/notes.txt", "dog/1.jpg"), "README.txt": "", "docs/a.md": ""})
        assert rows(found) == [
            ("README.txt", None, None, None),
            ("cat/1.jpg", "cat", None, None),
            ("cat/notes.txt", "cat", None, None),
            ("docs/a.md", None, None, None),
            ("dog/1.jpg", "dog", None, None),
        ]
        assert found.notes == []

    def test_a_mapping_names_the_classes(self):
        tree = {**images("0/1.jpg", "1/1.jpg", "2/1.jpg"), "names.csv": "id,name\n0,cat\n1,dog\n"}
        found = reading(tree, Options(mapping="names.csv"))
        assert labels(found) == {"0/1.jpg": "cat", "1/1.jpg": "dog", "2/1.jpg": "2"}
        assert (found.metadata, found.notes) == (["names.csv"], ["label 2 has no name in names.csv"])
