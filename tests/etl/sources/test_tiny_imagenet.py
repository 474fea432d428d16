from etl.sources.layouts import NO_FILE, NO_LABEL
from etl.sources.tiny_imagenet import class_names
from tests.etl.sources.making import Tree, images, reading, rows

BOX = "\t0\t32\t44\t62\n"
TREE: Tree = {
    **images(
        "train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "val/images/val_0.JPEG", "val/images/val_1.JPEG"
    ),
    **images("test/images/test_0.JPEG", "test/images/test_1.JPEG"),
    "wnids.txt": "n01\nn02\nn03\n",
    "words.txt": "n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tEuropean fire salamander\n",
    "train/n01/n01_boxes.txt": f"n01_0.JPEG{BOX}",
    "val/val_annotations.txt": f"val_0.JPEG\tn02{BOX}val_9.JPEG\tn01{BOX}",
}


class TestTinyImagenet:
    """The set as it is downloaded."""

    def test_rows_are_what_the_lists_say(self):
        found = reading(TREE)
        assert (found.layout, found.because) == ("tiny-imagenet", "3 classes of wnids.txt, named by words.txt")
        assert rows(found) == [
            ("test/images/test_0.JPEG", None, "test", NO_LABEL),
            ("test/images/test_1.JPEG", None, "test", NO_LABEL),
            ("train/n01/images/n01_0.JPEG", "goldfish", "train", None),
            ("train/n02/images/n02_0.JPEG", "European fire salamander", "train", None),
            ("val/images/val_0.JPEG", "European fire salamander", "val", None),
            ("val/images/val_1.JPEG", None, "val", NO_LABEL),
            ("val/images/val_9.JPEG", "goldfish", "val", NO_FILE),
        ]
        assert found.metadata == ["train/n01/n01_boxes.txt", "val/val_annotations.txt", "wnids.txt", "words.txt"]
        assert found.notes == [
            "2 files of the unlabelled test left out",
            "1 class of wnids.txt without training images, such as n03",
            "1 file listed but not there, such as val/images/val_9.JPEG",
        ]

    def test_a_wrapper_folder_changes_paths_only(self):
        plain = [(f"tiny/{path}", *rest) for path, *rest in rows(reading(TREE))]
        assert rows(reading({f"tiny/{path}": text for path, text in TREE.items()})) == plain

    def test_classes_that_share_a_name_carry_their_wnid(self):
        words = "n1\tcrane, bird\nn2\tcrane\nn3\tcat, true cat\nn9\tcat\n"
        assert class_names(["n1", "n2", "n3", "n4"], words) == {
            "n1": "crane (n1)",
            "n2": "crane (n2)",
            "n3": "cat",
            "n4": "n4",
        }
