from manifests.errors import Exit, UserError, known


class TestExit:
    """The exit codes that scripts act on."""

    def test_they_never_move(self):
        assert {code.name: int(code) for code in Exit} == {
            "DONE": 0, "BUG": 1, "USAGE": 2, "RECIPE": 3, "REFUSED": 4, "STALE": 5, "MISSING": 6, "GATE": 7,
            "DIVERGED": 8, "INTERRUPTED": 130,
        }  # fmt: skip


class TestUserError:
    """One sentence, and an exit code."""

    def test_the_message_is_the_sentence_and_data_is_refused_unless_said_otherwise(self):
        assert (str(UserError("a sentence")), UserError("x").code) == ("a sentence", Exit.REFUSED)
        assert UserError("x", Exit.RECIPE).code == Exit.RECIPE


class TestKnown:
    """What would have been understood, and the nearest of it."""

    def test_the_nearest_is_named(self):
        assert known("phsah", ["phash", "dhash", "off"]) == "Known: phash, dhash, off. Did you mean 'phash'?"

    def test_nothing_near_names_none(self):
        assert known("zzz", ["phash", "off"]) == "Known: phash, off."

    def test_many_are_counted(self):
        said = known("w7", [f"w{n}" for n in range(45)])
        assert said == "Known: w7, w37, w27, w17 and 41 more. Did you mean 'w7'?"

    def test_any_iterable_will_do(self):
        assert known("on", iter(["one"])) == "Known: one. Did you mean 'one'?"
