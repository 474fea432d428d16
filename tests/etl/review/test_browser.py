"""The page as a person uses it, in a real headless Chromium: keyboard, undo, tabs, a server that dies, a full disk."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.decisions import COLUMNS, Decision, change, read_decisions
from manifests.store import Stage
from tests.etl.review.desks import Server, asked_of, served
from tests.makers import brought, class_folders, digits, encoded, image, site, write

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: no browser to try the page in"
)
CLASSES = {"coat": 12, "hat": 60, "shoe": 8}  # and a copy among the shoes
SHOWN = """() => { const at = document.activeElement, style = getComputedStyle(at);
    if (at === document.body) return 'body';
    return style.outlineStyle !== 'none' || style.boxShadow !== 'none' ? 'seen' : at.outerHTML; }"""
OUTSIDE = """() => [...document.querySelectorAll('.t, h2, main, header, footer, footer button')]
    .filter(each => each.getBoundingClientRect().right > 391).length"""
JUMPS = """() => new Promise(done => { let sum = 0;
    new PerformanceObserver(list => list.getEntries().forEach(each => { sum += each.value; }))
      .observe({ type: 'layout-shift', buffered: true });
    setTimeout(() => done(sum), 800); })"""
expect = playwright.expect
expect.set_options(timeout=20_000)  # milliseconds: the machine may be shared


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browsed")
    class_folders(root / "source", CLASSES)
    copied = image(128, 96, seed=500)
    write(root / "source", {"shoe/one.png": encoded(copied), "shoe/two.jpg": encoded(copied, "JPEG", quality=60)})
    asked = asked_of(root / "source", split="0.8,0.2", max_per_class=40)
    brought(asked, root / "store", until="extract")
    dataset = site(root / "store").dataset
    dataset.ask(asked.asked())
    with dataset.publish(Stage("suggest", "0123456789abcdef", {}, {})) as (folder, finish):
        lines = ["sha256,path,class,likely,p_class,p_likely,score"]
        lines += [f"{digits(n)},hat/{n:03}.png,hat,coat,0.1,0.{90 - n},0.5" for n in range(3)]
        (folder / "suggestions.csv").write_text("\n".join(lines) + "\n")
        finish("made up", {})
    return root


class Used:
    """A page in use, and all that went wrong in it."""

    def __init__(self, browser: "Browser", address: str, **options: Any) -> None:
        settings: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}} | options
        self.context = browser.new_context(**settings)
        self.address, self.wrong, self.asked = address, list[str](), list[str]()
        self.page = self.open()

    def open(self, query: str = "?queue=class&class=hat") -> "Page":
        page = self.context.new_page()
        page.on("console", lambda said: self.wrong.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.address + query)
        page.wait_for_selector("html[data-ready]")
        return page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def saved(self, page: "Page | None" = None) -> None:
        expect((page or self.page).locator("#saved")).to_have_text("saved")


Use = Callable[..., Used]


@pytest.fixture
def use(browser: "Browser") -> Generator[Use]:
    opened: list[Used] = []

    def begin(address: str, **options: Any) -> Used:
        opened.append(Used(browser, address, **options))
        return opened[-1]

    yield begin
    for used in opened:
        used.context.close()


@pytest.fixture(scope="module")
def running(store: Path) -> Generator[Server]:
    with served(store, store / "decisions.csv") as server:
        yield server


@pytest.fixture
def server(running: Server, store: Path) -> Server:
    """One for all, which notices that its file is empty again."""
    (store / "decisions.csv").write_text(",".join(COLUMNS) + "\n")
    return running


def marks(page: "Page", kind: str = "reject") -> int:
    return page.locator(f".t[data-mark={kind}]").count()


def decided(folder: Path) -> list[tuple[str, str]]:
    file = folder / "decisions.csv"
    return [(each.path, each.decision) for each in read_decisions([file])] if file.exists() else []


@contextmanager
def held(page: "Page", status: int = 0) -> Generator[None]:
    """The first decision of the block is on its way until its end; then it arrives, or is answered with a status.

    However long the block takes: a page that loses patience sends the same again, and that waits too.
    """
    waiting: list[Route] = []
    over: list[bool] = []

    def wait(route: "Route") -> None:
        if over:
            route.continue_()
        else:
            waiting.append(route)

    page.route("**/decide", wait)
    with page.expect_request("**/decide"):
        yield
    while not waiting:
        page.wait_for_timeout(10)
    over.append(True)
    if status:
        waiting[-1].fulfill(status=status, body="no JSON")
    else:
        waiting[-1].continue_()


class TestByKeyboard:
    """Everything without a mouse, and every decision in the file at once."""

    def test_fifty_images_are_rejected_undone_and_there_after_a_reload(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        for _ in range(50):
            used.press("Space", "ArrowRight")
        used.saved()
        assert decided(store) == [(f"hat/{number:03}.png", "reject") for number in range(50)]
        used.press("u", "u", "u")
        used.saved()
        assert len(decided(store)) == 47
        expect(used.page.locator(".t.here")).to_have_attribute("aria-label", re.compile(r"hat/047\.png$"))
        used.page.reload()
        used.page.wait_for_selector("html[data-ready]")
        assert marks(used.page) == 47
        used.press("u")
        used.saved()
        assert (len(decided(store)), used.wrong) == (46, [])

    def test_relabel_pin_and_reason(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.press("3", "ArrowRight", "p", "ArrowRight", "r", "2", "ArrowRight", "c")
        used.page.keyboard.type("coa")
        used.press("Enter")
        used.saved()
        said = [(d.path, d.decision, d.class_name, d.reason) for d in read_decisions([store / "decisions.csv"])]
        assert said == [
            ("hat/000.png", "relabel", "shoe", ""), ("hat/001.png", "pin", "", ""),
            ("hat/002.png", "reject", "", "blurred"), ("hat/003.png", "relabel", "coat", ""),
        ]  # fmt: skip
        assert used.wrong == []

    def test_shift_selects_and_space_is_for_all_of_them(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.press("Shift+ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown")
        chosen = used.page.locator(".t[aria-selected=true]").count()
        used.press("Space")
        used.saved()
        assert (chosen > 3, len(decided(store))) == (True, chosen)
        used.press("u")
        used.saved()
        assert decided(store) == []

    def test_the_large_view_tells_the_story_and_decides_too(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.press("Enter", "ArrowRight", "Space")
        expect(used.page.locator("#story h2")).to_have_text("hat/001.png")
        expect(used.page.locator("#story .state")).to_have_text("rejected by hand")
        used.press("Escape")
        expect(used.page.locator("#view")).not_to_be_visible()
        expect(used.page.locator(".t:focus")).to_have_attribute("aria-label", re.compile(r"hat/001\.png$"))
        assert decided(store) == [("hat/001.png", "reject")]

    def test_search_and_help_have_their_keys(self, server: Server, use: Use):
        used = use(server.address)
        used.press("/")
        expect(used.page.locator("#filter input[type=search]")).to_be_focused()
        used.page.keyboard.type("hat/05")
        used.press("Enter")
        used.page.wait_for_url("**q=hat**")
        assert used.page.locator(".t").count() == 10
        used.page.wait_for_selector("html[data-ready]")
        used.press("?")
        expect(used.page.get_by_role("dialog", name="Keys")).to_be_visible()
        used.press("Escape")
        expect(used.page.get_by_role("dialog", name="Keys")).not_to_be_visible()

    def test_what_a_decision_changes_is_said_in_counts(self, server: Server, use: Use):
        used = use(server.address)
        used.page.locator(".t:not([data-why])").first.click()
        used.press("Space")
        expect(used.page.locator("#effect")).to_contain_text("1 taken from over the cap")
        used.page.goto(server.address + "?queue=class&class=shoe")
        used.page.wait_for_selector("html[data-ready]")
        used.press("Space")
        expect(used.page.locator("#effect")).to_contain_text("shoe 9 → 8")

    def test_a_key_that_is_held_decides_once(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        for _ in range(5):
            used.page.keyboard.down("Space")
        used.page.keyboard.up("Space")
        used.saved()
        assert decided(store) == [("hat/000.png", "reject")]

    def test_x_rejects_and_goes_on_and_takes_nothing_back(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.page = used.open("?queue=class&class=coat")
        used.press("ArrowRight", "Space", "ArrowLeft", *"xxx", "End", *"xxx")
        used.saved()
        assert [path for path, _ in decided(store)] == [f"coat/{number:03}.png" for number in (0, 1, 2, 11)]

    def test_undo_before_the_answer_takes_back_what_it_was_pressed_for(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        with held(used.page):
            used.press("Space", "u", "ArrowRight", "Space")
            expect(used.page.locator("#saved")).to_have_text("saving")
            assert decided(store) == []
        used.saved()
        assert decided(store) == [("hat/001.png", "reject")]

    def test_undo_of_what_was_refused_takes_nothing_else_back(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.press("Space", "ArrowRight")
        used.saved()
        with held(used.page, status=500):
            used.press("Space", "u")
        expect(used.page.get_by_role("alert")).to_contain_text("The server answered 500.")
        used.saved()
        expect(used.page.locator(".t[data-mark=reject]")).to_have_count(1)
        assert decided(store) == [("hat/000.png", "reject")]
        used.page.get_by_role("button", name="Close", exact=True).click()
        expect(used.page.locator(".t:focus")).to_have_count(1)

    def test_many_are_decided_at_once(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.page = used.open("?queue=all")
        used.press("Control+a", "Space")
        used.saved()
        assert len(decided(store)) == sum(CLASSES.values()) + 2
        used.press("u")
        used.saved()
        assert decided(store) == []

    def test_the_mouse_selects_and_the_buttons_decide(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.page.locator(".t").nth(2).click()
        used.page.locator(".t").nth(5).click(modifiers=["Shift"])
        used.page.locator(".t").nth(9).click(modifiers=["ControlOrMeta"])
        used.page.get_by_role("button", name="Pin").first.click()
        used.saved()
        assert [path for path, _ in decided(store)] == [f"hat/{number:03}.png" for number in (2, 3, 4, 5, 9)]


class TestQueues:
    """Compared images and suggestions have keys of their own, and go on by themselves."""

    def test_a_copy_stands_beside_what_is_kept_and_is_judged_against_it(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.page = used.open("?queue=duplicates")
        assert used.page.locator(".t i").all_text_contents()[0] == "shoe, kept"
        used.press("n")
        used.saved()
        (line,) = read_decisions([store / "decisions.csv"])
        assert (line.path, line.decision, line.reason.partition(" ")[2]) == (
            "shoe/two.jpg", "not duplicate", "shoe/one.png",
        )  # fmt: skip
        expect(used.page.locator("#effect")).to_contain_text("shoe 9 → 10")
        used.press("Enter")
        expect(used.page.locator("#left")).to_be_visible()
        used.press("Escape", "u")
        used.saved()
        assert (decided(store), used.wrong) == ([], [])

    def test_a_suggestion_is_taken_or_the_label_is_right(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        used.page = used.open("?queue=suggested")
        used.press("y", "n")
        used.saved()
        said = [(d.path, d.decision, d.class_name) for d in read_decisions([store / "decisions.csv"])]
        assert said == [("hat/000.png", "relabel", "coat"), ("hat/001.png", "relabel", "hat")]


class TestOthers:
    """Two tabs, and an editor: each sees what the others decided."""

    def test_two_tabs_see_each_others_decisions(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        other = used.open()
        used.page.bring_to_front()
        used.press("Space")
        used.saved()
        other.bring_to_front()
        expect(other.locator(".t[data-mark=reject]")).to_have_count(1)
        other.keyboard.press("ArrowRight")
        other.keyboard.press("p")
        used.saved(other)
        used.page.bring_to_front()
        expect(used.page.locator(".t[data-mark=pin]")).to_have_count(1)
        assert decided(store) == [("hat/000.png", "reject"), ("hat/001.png", "pin")]

    def test_what_is_written_to_the_file_by_others_is_seen(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        change(store / "decisions.csv", [Decision("", "hat/004.png", "reject", reason="dark")])
        expect(used.page.locator(".t[data-mark=reject]")).to_have_count(1)

    def test_undo_is_for_the_decisions_of_this_tab(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        other = used.open()
        used.page.bring_to_front()
        used.press("Space")
        used.saved()
        other.bring_to_front()
        other.keyboard.press("u")
        expect(other.locator("#said")).to_have_text("Nothing to undo in this tab.")
        assert decided(store) == [("hat/000.png", "reject")]


class TestTrouble:
    """A server that is killed and a disk that is full lose nothing, and the page says so."""

    def test_a_killed_server_loses_nothing(self, store: Path, use: Use, tmp_path: Path):
        file = tmp_path / "decisions.csv"
        with served(store, file) as running:
            used = use(running.address)
            used.press("Space", "ArrowRight")
            used.saved()
            running.kill()
            used.press("Space", "ArrowRight", "p")
            expect(used.page.get_by_role("alert")).to_contain_text("2 decisions are not saved yet")
            expect(used.page.locator("#saved")).to_have_text("2 unsaved")
            assert used.page.locator(".t[data-unsaved]").count() == 2
            assert decided(tmp_path) == [("hat/000.png", "reject")]
        with served(store, file) as again:
            assert again.address == running.address
            expect(used.page.locator("#saved")).to_have_text("saved")
            expect(used.page.get_by_role("alert")).not_to_be_visible()
            assert decided(tmp_path) == [("hat/000.png", "reject"), ("hat/001.png", "reject"), ("hat/002.png", "pin")]

    def test_who_closes_the_tab_while_it_saves_is_asked_and_who_follows_a_link_is_not(
        self, server: Server, use: Use, store: Path
    ):
        used = use(server.address)
        with held(used.page):
            used.press("Space")
            with used.page.expect_event("dialog") as asked:
                used.page.close(run_before_unload=True)
            assert asked.value.type == "beforeunload"
            asked.value.dismiss()
        used.saved()
        used.page.route("**/decide", lambda route: route.abort(), times=1)
        used.press("ArrowRight", "Space")
        used.page.locator("#legend tbody a").first.click()
        used.page.wait_for_url("**class=coat**")
        used.saved()
        assert decided(store) == [("hat/000.png", "reject"), ("hat/001.png", "reject")]

    def test_a_refusal_is_still_said_after_the_page_loaded_itself_anew(self, store: Path, use: Use, tmp_path: Path):
        file = tmp_path / "decisions.csv"
        with served(store, file) as running:
            used = use(running.address)
            boot = used.page.locator("body").get_attribute("data-boot") or ""
        used.page.route("**/decide", lambda route: route.fulfill(status=400, json={"error": "It is full."}), times=1)
        used.press("Space")
        with served(store, file):
            expect(used.page.locator("body")).not_to_have_attribute("data-boot", boot)
            expect(used.page.get_by_role("alert")).to_contain_text("Not written, so the mark went back. It is full.")

    def test_where_nothing_can_be_written_the_mark_goes_back(self, store: Path, use: Use, tmp_path: Path):
        (tmp_path / "file").write_text("in the way of a folder")
        with served(store, tmp_path / "file" / "decisions.csv") as running:
            used = use(running.address)
            used.press("Space")
            expect(used.page.get_by_role("alert")).to_contain_text("cannot be written")
            expect(used.page.locator(".t[data-mark]")).to_have_count(0)
            expect(used.page.locator("#saved")).to_have_text("saved")

    def test_a_file_that_somebody_damaged_is_named(self, server: Server, use: Use, store: Path):
        used = use(server.address)
        (store / "decisions.csv").write_text("sha256,path,decision\nx,hat/000.png,rejcet\n")
        expect(used.page.get_by_role("alert")).to_contain_text("unknown decision 'rejcet'")
        used.press("Space")
        expect(used.page.locator(".t[data-mark]")).to_have_count(0)
        assert (store / "decisions.csv").read_text().endswith("rejcet\n")


class TestForEverybody:
    """Names, focus, narrow screens; and nothing from elsewhere."""

    def test_a_tile_says_what_it_is_and_where_one_is_can_be_seen(self, server: Server, use: Use):
        used = use(server.address)
        used.press("ArrowRight")
        tile = used.page.get_by_role("option", name=re.compile(r"^hat, (train|val), kept, hat.\d+\.png$"))
        assert tile.count() == 40
        expect(used.page.locator(".t:focus")).to_have_count(1)
        assert used.page.locator(".t[tabindex='0']").count() == 1
        assert "rgb" in used.page.locator(".t:focus").evaluate("tile => getComputedStyle(tile).boxShadow")
        unnamed = used.page.evaluate(
            """() => [...document.querySelectorAll('button, a, [role], input:not([type=hidden]), select, dialog')]
               .filter(each => !['presentation', 'status', 'alert'].includes(each.getAttribute('role')))
               .filter(each => !['aria-label', 'aria-labelledby'].some(name => each.getAttribute(name)))
               .filter(each => !each.textContent.trim()).map(each => each.outerHTML)"""
        )
        assert unnamed == []

    def test_every_control_that_is_reached_by_tab_shows_it(self, server: Server, use: Use):
        used = use(server.address)
        seen: list[str] = []
        for _ in range(24):
            used.press("Tab")
            seen.append(used.page.evaluate(SHOWN))
        assert set(seen) <= {"seen", "body"}
        assert seen.count("seen") > 15

    @pytest.mark.parametrize("query", ["", "?queue=all", "?queue=rejected", "?queue=duplicates"])
    def test_a_phone_has_no_sideways_scroll(self, server: Server, use: Use, query: str):
        used = use(server.address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        page = used.open(query)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.evaluate(OUTSIDE) == 0

    def test_a_pair_stands_side_by_side_on_a_tablet_and_what_was_said_has_room(self, server: Server, use: Use):
        used = use(server.address, viewport={"width": 768, "height": 1024})
        page = used.open("?queue=duplicates")
        one, two = (page.locator(".t").nth(number).bounding_box() for number in (0, 1))
        said = page.locator("#said").bounding_box()
        assert one
        assert two
        assert said
        assert (one["y"], said["width"] > 500) == (two["y"], True)

    def test_touch_decides_too(self, server: Server, use: Use, store: Path):
        used = use(server.address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
        used.page.get_by_role("button", name="Select").tap()
        for number in (0, 1, 4):
            used.page.locator(".t").nth(number).tap()
        used.page.get_by_role("button", name="Reject", exact=True).first.tap()
        used.saved()
        assert [path for path, _ in decided(store)] == ["hat/000.png", "hat/001.png", "hat/004.png"]

    def test_nothing_comes_from_elsewhere_and_nothing_is_complained_about(self, server: Server, use: Use):
        used = use(server.address)
        used.press("ArrowRight", "Enter", "ArrowRight")
        expect(used.page.locator("#story h2")).to_have_text("hat/002.png")
        used.press("Escape", "?", "Escape")
        for query in ("?queue=all", "?queue=rejected", "?queue=suggested"):
            used.open(query)
        assert [url for url in used.asked if not url.startswith(server.address)] == []
        assert used.wrong == []

    def test_tiles_stay_where_they_are_while_pictures_come(self, server: Server, use: Use):
        used = use(server.address)
        page = used.open("?queue=all")
        assert page.evaluate(JUMPS) < 0.001
