import socket
from pathlib import Path

import pytest

from etl.review.place import LOOPBACK, bound, new_token, remember, remembered
from manifests.errors import UserError


def port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


class TestPlace:
    """The last port where it is free, and the token only together with it."""

    def test_what_is_remembered_is_found_again(self, tmp_path: Path):
        token = new_token()
        remember(tmp_path / "review.json", token, 4711)
        assert remembered(tmp_path / "review.json") == (token, 4711)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"token": "short", "port": 1}'])
    def test_what_cannot_be_understood_is_a_new_token_and_any_port(self, tmp_path: Path, text: str):
        (tmp_path / "review.json").write_text(text)
        token, port = remembered(tmp_path / "review.json")
        assert (len(token), port) == (43, 0)

    def test_a_port_that_is_taken_is_another_one_or_an_error_where_it_was_asked_for(self):
        with socket.socket() as taken:
            taken.bind((LOOPBACK, 0))
            taken.listen()
            with bound(0, port_of(taken)) as listening:
                assert port_of(listening) != port_of(taken)
            with pytest.raises(UserError, match="--port"):
                bound(port_of(taken), 0)
