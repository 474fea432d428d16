import json
import os
import re
import stat
from collections.abc import Generator
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from etl.decisions import read_decisions
from etl.review.guard import BODY_LIMIT, HEADERS
from tests.etl.review.desks import Server, asked_of, served
from tests.makers import brought, class_folders, png_bytes, site, write

NASTY = "<script>alert(1)</script>"  # a class by this name cannot be a folder, for it has a slash
CLASS, FILE = "<img src=x onerror=alert(1)>", "a \"quoted\" 'name' & <b>.png"


class Page:
    """A server and how to ask it."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server, self.root = server, root
        _, _, self.host, self.token, _ = server.address.split("/")

    def ask(
        self,
        path: str = "",
        *,
        method: str = "GET",
        body: bytes | None = None,
        token: str | None = None,
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:
        there = HTTPConnection(self.host, timeout=30)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        there.request(method, f"/{self.token if token is None else token}/{path}", body, named)
        answer = there.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def text(self, path: str = "") -> str:
        return self.ask(path)[2].decode()

    def post(self, value: Any, **headers: str) -> tuple[int, Any]:
        said = {"Origin": f"http://{self.host}", "Content-Type": "application/json"} | headers
        status, _, answer = self.ask("decide", method="POST", body=json.dumps(value).encode(), **said)
        try:
            return status, json.loads(answer)
        except ValueError:
            return status, answer.decode()

    def op(self, number: int, to: dict[str, str] | None, what: str = "stays", **more: Any) -> dict[str, Any]:
        version = re.search(rf'data-id="{number}" data-v="([^"]*)"', self.text("?queue=all"))
        assert version
        return {"id": number, "v": version[1], "what": what, "to": to, **more}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    root = tmp_path_factory.mktemp("review")
    class_folders(root / "source", {"hat": 3})
    write(root / "source", {f"{CLASS}/{FILE}": png_bytes(seed=77), f"{CLASS}/cut.png": png_bytes(seed=78)[:60]})
    asked = asked_of(root / "source", split="0.5,0.5")
    brought(asked, root / "store", until="extract")
    site(root / "store").dataset.ask(asked.asked())
    with served(root, root / "decisions.csv") as server:
        yield Page(server, root)


class TestWhoMayAsk:
    """This machine, by its exact name, with the token; changes only from the page itself."""

    def test_with_the_token_the_page_answers(self, page: Page):
        assert page.ask()[0] == 200

    @pytest.mark.parametrize("token", ["", "x", "..", "%2e%2e", "a" * 43])
    def test_without_it_nothing_is_here(self, page: Page, token: str):
        status, headers, answer = page.ask("t/0", token=token)
        assert (status, b"RIFF" in answer, headers["cache-control"]) == (404, False, "no-store")

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "evil.example", "127.0.0.1:1", "[::1]"])
    def test_another_host_is_refused(self, page: Page, host: str):
        assert page.ask(Host=host)[0] == 403

    def test_it_listens_on_this_machine_only(self, page: Page):
        port = int(page.host.partition(":")[2])
        lines = Path("/proc/net/tcp").read_text().splitlines() if Path("/proc/net/tcp").exists() else []
        listening = {
            line.split()[1] for line in lines if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
        }
        assert listening <= {f"0100007F:{port:04X}"}
        assert page.host.startswith("127.0.0.1:")

    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:80", "https://127.0.0.1"])
    def test_a_change_from_another_page_is_refused(self, page: Page, origin: str):
        status, _ = page.post({"ops": [page.op(0, {"decision": "pin"})]}, Origin=origin)
        assert (status, (page.root / "decisions.csv").exists()) == (403, False)

    def test_a_change_without_an_origin_is_refused(self, page: Page):
        assert page.ask("decide", method="POST", body=b"{}", Content_Type="application/json")[0] == 403

    def test_only_json_is_taken_and_not_too_much_of_it(self, page: Page):
        origin = f"http://{page.host}"
        text = page.ask("decide", method="POST", body=b"ops=1", Origin=origin, Content_Type="text/plain")
        kind, length = "application/json", str(BODY_LIMIT + 1)
        large = page.ask("decide", method="POST", Origin=origin, Content_Type=kind, Content_Length=length)
        assert (text[0], large[0]) == (415, 413)

    def test_chunks_without_a_length_are_refused_whatever_length_is_said(self, page: Page):
        said = {"Origin": f"http://{page.host}", "Content_Type": "application/json", "Transfer_Encoding": "chunked"}
        assert page.ask("decide", method="POST", body=b"2\r\n{}\r\n0\r\n\r\n", **said)[0] == 411

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
    def test_other_methods_are_refused(self, page: Page, method: str):
        assert page.ask(method=method)[0] == 405

    @pytest.mark.parametrize("path", ["", "nothing", "t/0", "s/review.js", "changes"])
    def test_every_answer_carries_the_policy(self, page: Page, path: str):
        headers = page.ask(path)[1]
        assert {name: headers[name] for name in HEADERS} == HEADERS


class TestWhatIsServed:
    """Pictures by number, files by a fixed list: no path of a request is opened."""

    @pytest.mark.parametrize(
        "path",
        ["s/../server.py", "s/%2e%2e%2fserver.py", "s/server.py", "s//etc/passwd", "t/..%2f..%2fetc%2fpasswd", "t/-1",
         "t/9999", "t/" + "9" * 5000, "t/0?v=0123", "story/0?v=0123",
         "v/hat%2f000.png", "story/x", "decisions.csv", "../review.json"],
    )  # fmt: skip
    def test_a_path_leads_nowhere(self, page: Page, path: str):
        assert page.ask(path)[0] in {400, 404}

    def test_a_thumbnail_is_a_webp_that_may_be_kept(self, page: Page):
        status, headers, data = page.ask("t/2")
        assert (status, headers["content-type"], data[:4], data[8:12]) == (200, "image/webp", b"RIFF", b"WEBP")
        assert "immutable" in headers["cache-control"]
        assert "private" in headers["cache-control"]

    def test_an_image_that_cannot_be_used_is_drawn(self, page: Page):
        number = re.search(r'data-id="(\d+)"[^>]*cut\.png', page.text("?queue=all"))
        assert number
        status, headers, _ = page.ask(f"t/{number[1]}")
        assert (status, headers["content-type"]) == (200, "image/svg+xml")

    def test_names_are_escaped_wherever_they_stand(self, page: Page):
        for path in ("?queue=all", "?queue=class", "?q=%3Cscript%3Ealert(1)%3C/script%3E", "story/0", "story/1"):
            text = page.text(path)
            assert "<img src=x" not in text
            assert "<script>alert" not in text
        assert unescape(page.text("?queue=all")).count(f"{CLASS}/{FILE}") >= 1

    def test_there_is_no_script_or_style_in_the_page_itself(self, page: Page):
        text = page.text("?queue=class")
        assert not re.findall(r"<script(?![^>]*src=)|<style|\son\w+=\"|\sstyle=\"", text.replace(CLASS, ""))

    @pytest.mark.parametrize("query", ["?queue=nothing", "?page=x&queue=all", "?page=999999&queue=all", "?class=zzz"])
    def test_an_odd_address_is_answered(self, page: Page, query: str):
        assert page.ask(query)[0] == (404 if "nothing" in query else 200)


class TestDeciding:
    """A decision is in the file before the answer is there."""

    def test_it_is_written_told_and_taken_back(self, page: Page):
        file = page.root / "decisions.csv"
        status, said = page.post({"ops": [page.op(2, {"decision": "reject", "reason": "dark"})]})
        assert (status, [each.reason for each in read_decisions([file])]) == (200, ["dark"])
        assert "rejected by hand: dark" in said["rows"][0]["name"]
        undo = page.op(2, None, expects=said["granted"][0]["now"], undo=True)
        assert page.post({"ops": [undo]})[0] == 200
        assert read_decisions([file]) == []

    def test_a_batch_that_is_sent_again_is_answered_as_it_was(self, page: Page):
        batch = {"batch": "b1", "ops": [page.op(2, {"decision": "pin"})]}
        first, again = page.post(batch)[1], page.post(batch)[1]
        assert first["granted"] == again["granted"]
        assert first["granted"][0]["before"] is None
        page.post({"ops": [page.op(2, None)]})

    @pytest.mark.parametrize(
        "body",
        [[], {}, {"ops": 5}, {"ops": [5]}, {"ops": [{"id": "0", "what": "stays"}]},
         {"ops": [{"id": 99, "what": "stays"}]}, {"ops": [{"id": 0, "what": "all"}]}],
    )  # fmt: skip
    def test_what_is_no_change_is_refused_in_words(self, page: Page, body: Any):
        status, said = page.post(body)
        assert (status, bool(said["error"])) == (400, True)

    def test_a_page_of_other_images_is_refused(self, page: Page):
        status, said = page.post({"ops": [page.op(2, {"decision": "pin"}) | {"v": "01234567"}]})
        assert (status, said["error"]) == (400, "the images changed since this page was loaded; load it again.")

    def test_an_image_that_got_another_number_is_known_by_its_digits(self, page: Page):
        asked = page.op(2, {"decision": "pin"})
        _, said = page.post({"ops": [asked | {"id": 99}]})
        assert [each["id"] for each in said["rows"]] == [2]
        page.post({"ops": [asked | {"to": None}]})

    def test_a_pair_names_both_images_by_their_digits(self, page: Page):
        one, two = (page.op(number, {"decision": "duplicate"}, "pair") for number in (2, 3))
        assert page.post({"ops": [one | {"other": 3, "other_v": "01234567"}]})[0] == 400
        assert page.post({"ops": [one | {"other": 99, "other_v": two["v"]}]})[0] == 200
        (line,) = read_decisions([page.root / "decisions.csv"])
        assert (line.decision, line.reason[:16]) == ("duplicate", two["v"])
        assert page.post({"ops": [one | {"to": None, "other": 3, "other_v": two["v"]}]})[0] == 200

    def test_an_unheard_of_class_is_refused(self, page: Page):
        assert page.post({"ops": [page.op(2, {"decision": "relabel", "class": NASTY}, "class")]})[0] == 400

    def test_what_changed_is_told_once(self, page: Page):
        start = json.loads(page.text("changes"))
        known = f"changes?boot={start['boot']}&since={start['rev']}"
        page.post({"ops": [page.op(2, {"decision": "pin"})]})
        told = json.loads(page.text(known))
        assert [(row["id"], row["mark"]) for row in told["rows"]] == [(2, "pin")]
        page.post({"ops": [page.op(2, None)]})


class TestItsOwnFile:
    """Port and token are kept for the next time, for this user only."""

    def test_a_page_left_open_finds_its_server_again(self, page: Page):
        kept = page.root / "store" / "made" / "review.json"
        assert json.loads(kept.read_text()) == {"token": page.token, "port": int(page.host.partition(":")[2])}
        if os.name == "posix":
            assert stat.S_IMODE(kept.stat().st_mode) == 0o600
