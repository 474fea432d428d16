import hashlib
from pathlib import Path

import pytest

from manifests.digests import digest, file_digest, rank


class TestDigest:
    """Equal values have equal digests, others have others."""

    def test_it_is_the_sha256_of_canonical_json(self):
        assert digest({"b": [1, "ñ"], "a": None}) == hashlib.sha256('{"a":null,"b":[1,"ñ"]}'.encode()).hexdigest()

    def test_the_order_of_keys_does_not_matter_that_of_lists_does(self):
        assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
        assert digest([1, 2]) != digest([2, 1])

    def test_one_and_true_and_text_differ(self):
        assert len({digest(value) for value in (1, True, "1", 1.5, None, [], {})}) == 7

    def test_a_name_that_is_no_unicode_has_one_too(self):
        assert digest("\udcff") != digest("\udcfe")

    def test_what_json_cannot_say_is_refused(self):
        with pytest.raises(ValueError, match="JSON compliant"):
            digest(float("nan"))

    def test_a_files_digest_is_that_of_its_bytes(self, tmp_path: Path):
        data = bytes(range(256)) * 5000
        (tmp_path / "f").write_bytes(data)
        assert file_digest(tmp_path / "f") == hashlib.sha256(data).hexdigest()


class TestRank:
    """A place in a shuffle that depends on seed and thing alone."""

    def test_a_number_must_never_move(self):
        assert rank(0, "split", "abc").startswith("afdc4232bd0274d9")

    def test_parts_are_kept_apart(self):
        assert len({rank(0, "ab", "c"), rank(0, "a", "bc"), rank(0, "abc"), rank(1, "abc")}) == 4
