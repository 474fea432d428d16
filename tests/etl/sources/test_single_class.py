import pytest

from etl.sources.layouts import Options
from manifests.errors import UserError
from tests.etl.sources.making import images, reading, rows


class TestSingleClass:
    """All files have the class that the person names."""

    def test_every_file_has_the_class(self):
        found = reading(images("1.jpg", "train/2.jpg", "notes.txt", ".DS_Store"), Options(class_name="text"))
        assert (found.layout, found.because) == ("single-class", "every image is of the class 'text', as given")
        assert rows(found) == [
            ("1.jpg", "text", None, None),
            ("notes.txt", "text", None, None),
            ("train/2.jpg", "text", None, None),
        ]
        assert found.system == [".DS_Store"]

    def test_it_needs_the_name(self):
        with pytest.raises(
            UserError, match="not laid out as single-class, which needs images anywhere below, and the class"
        ):
            reading(images("1.jpg"), Options(layout="single-class"))
