"""Serves the review page on 127.0.0.1: what each address answers. `guard` decides who may ask at all."""

import json
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from etl.images import Unusable
from etl.review import pages
from etl.review.desk import Desk, open_desk
from etl.review.guard import Guard
from etl.review.ledger import WHAT, Wish, checked
from etl.review.place import LOOPBACK, bound, new_token, remember, remembered
from etl.review.queues import NONE, QUEUES, Filter, Row, filtered, page_of, tiles_in
from manifests.console import plain
from manifests.errors import Exit, UserError
from manifests.recipe import SPLITS, Recipe
from manifests.store import DatasetStore

P = ParamSpec("P")
R = TypeVar("R")

DIGITS = 9  # of a row's number
DECODERS = 4  # threads that make pictures
FOREVER = "private, max-age=31536000, immutable"  # a picture's address names its bytes: ?v=SHA256
REFUSED = {Exit.USAGE: 400}  # the rest is a file that cannot be written: 507


def _drawn(_: str) -> bytes:
    return pages.static("missing.svg")[1]


class Answers:
    """One method an address; what blocks runs in threads."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._decoders: CapacityLimiter | None = None

    def routes(self) -> list[Route]:
        return [
            Route("/", self.page),
            Route("/t/{number}", self.thumbnail),
            Route("/v/{number}", self.view),
            Route("/story/{number}", self.story),
            Route("/changes", self.changes),
            Route("/decide", self.decide, methods=["POST"]),
            Route("/s/{name}", self.static),
        ]

    async def page(self, request: Request) -> Response:
        asked = request.query_params
        queue = asked.get("queue", "class")
        if queue not in QUEUES:
            raise HTTPException(404, "there is no such queue")
        wanted = Filter(
            asked.get("class", ""), asked.get("split", ""), asked.get("state", ""), asked.get("q", "").strip()
        )
        number = asked.get("page", "1")
        place = int(number) - 1 if number.isascii() and number.isdecimal() and len(number) < 7 else 0
        return HTMLResponse(await _threaded(self._page, queue, wanted, place))

    def _page(self, queue: str, wanted: Filter, place: int) -> str:
        self.desk.settle()
        rev = self.desk.revision  # before the rest is looked at: better told twice than not at all
        effect = self.desk.effect
        now, known, owned = self.desk.moment, self.desk.known, self.desk.ledger.owned()
        sizes = {name: len(groups) if groups and groups[0].compared else tiles_in(groups)
                 for name, (_, made) in QUEUES.items() for groups in [made(known)]}  # fmt: skip
        whole = filtered(self.desk.groups(queue), now.rows, now.marks, wanted)
        groups, count = page_of(whole, place)
        cap = self.desk.source.settings.max_per_class
        return pages.page(
            dataset=self.desk.name,
            boot=self.desk.boot,
            rev=rev,
            effect=effect,
            queue=queue,
            queue_title=QUEUES[queue][0],
            wanted=wanted,
            tabs=pages.tabs(sizes, queue, wanted),
            legend=pages.legend(now, cap),
            address=partial(pages.address, queue, wanted),
            groups=pages.shown(groups, now, owned),
            compared=bool(groups) and groups[0].compared,
            tiles=tiles_in(whole),
            place=min(place, count - 1) + 1,
            pages=count,
            splits=SPLITS,
            totals=[sum(each.splits[i] for each in now.counts) for i in range(len(SPLITS))],
            cap=cap,
            decided=len(owned),
            found=len(now.rows),
            file=self.desk.ledger.file.name,
            trouble=self.desk.ledger.trouble or now.trouble,
            reasons=pages.REASONS,
        )

    async def thumbnail(self, request: Request) -> Response:
        row = self._row(request)
        return await self._picture(lambda: self.desk.pictures.small(row))

    async def view(self, request: Request) -> Response:
        row = self._row(request)
        return await self._picture(lambda: self.desk.pictures.large(row.id, row.width, row.height), pages.missing)

    async def _picture(self, make: Callable[[], bytes], instead: Callable[[str], bytes] = _drawn) -> Response:
        self._decoders = self._decoders or CapacityLimiter(DECODERS)
        try:
            made = await to_thread.run_sync(make, limiter=self._decoders)
        except (Unusable, MemoryError) as error:
            return Response(instead(str(error)), media_type="image/svg+xml")
        return Response(made, media_type="image/webp", headers={"cache-control": FOREVER})

    async def story(self, request: Request) -> Response:
        row = self._row(request)
        return HTMLResponse(await _threaded(self._story, row.id))

    def _story(self, number: int) -> str:
        now = self.desk.moment
        row, mark = now.rows[number], now.marks.get(number, NONE)
        facts = self.desk.source.table.row(number, named=True)
        cluster = [each for each in now.rows if row.cluster and each.cluster == row.cluster and each.id != number]
        same = [each for each in cluster if each.sha256 == row.sha256]
        return pages.story(
            row=row,
            mark=mark,
            facts=facts,
            state=pages.state(row, mark),
            cluster=[{"row": each, "state": pages.state(each, now.marks.get(each.id, NONE))} for each in cluster],
            same=same,
            decisions=[each for each in self.desk.ledger.decisions if (row.sha256 or row.path) == each.image],
        )

    async def changes(self, request: Request) -> Response:
        since = request.query_params.get("since", "0")
        number = int(since) if since.isascii() and since.isdecimal() and len(since) < 16 else 0
        if request.query_params.get("boot") != self.desk.boot:
            number = 0
        return JSONResponse(await _threaded(self.desk.changes, number))

    async def decide(self, request: Request) -> Response:
        return JSONResponse(await _threaded(self._decide, await request.body()))

    def _decide(self, body: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "not JSON that is understood") from None
        classes = self.desk.moment.classes
        wishes = [self._wish(each, classes) for each in _list(asked, "ops")]
        granted = self.desk.decide(str(asked.get("batch", "")), [wish for _, wish in wishes])
        numbers = list(dict.fromkeys(number for number, _ in wishes))
        return {
            "boot": self.desk.boot,
            "rows": self.desk.told(numbers),
            "granted": [each._asdict() for each in granted],
            "decided": len(self.desk.ledger.owned()),
        }

    def _wish(self, asked: Any, classes: Sequence[str]) -> tuple[int, Wish]:
        """One change as the page asks for it. Raises UserError for what it may not ask."""
        what = asked.get("what") if isinstance(asked, dict) else None
        if what not in WHAT or not isinstance(asked.get("id"), int):
            raise UserError("a change has an id, and what it is about: stays, class or pair.", Exit.USAGE)
        row = self.desk.meant(asked["id"], str(asked.get("v", "")))
        is_pair = what == "pair" and isinstance(asked.get("other"), int)
        other = self.desk.meant(asked["other"], str(asked.get("other_v", ""))) if is_pair else None
        if what == "pair" and (other is None or not row.sha256 or not other.sha256 or other.sha256 == row.sha256):
            raise UserError("a pair is of two different images that could be read.", Exit.USAGE)
        to, expects = checked(asked.get("to"), what, classes), asked.get("expects")
        pair = (other.sha256, other.path) if other else ("", "")
        is_undo = asked.get("undo") is True
        return row.id, Wish(row.sha256, row.path, what, *pair, to, expects, is_undo)

    async def static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in pages.FILES:
            raise HTTPException(404, "there is no such file")
        kind, data = pages.static(name)
        return Response(data, media_type=kind)

    def _row(self, request: Request) -> Row:
        number, version = str(request.path_params["number"]), request.query_params.get("v", "")
        if not (number.isascii() and number.isdecimal() and len(number) <= DIGITS):
            raise HTTPException(404, "there is no such image")
        row = self.desk.row(int(number))
        if version and version != row.sha256[: len(version)]:
            raise HTTPException(404, "the images changed since this page was loaded")
        return row


def _list(value: Any, key: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise UserError(f"a list of {key} is needed.", Exit.USAGE)
    return found


async def _threaded(work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await to_thread.run_sync(partial(work, *args, **kwargs))


async def _refused(_: Request, error: Exception) -> Response:
    """What a person can put right travels to the page as a sentence."""
    assert isinstance(error, UserError)
    return JSONResponse({"error": plain(str(error))}, REFUSED.get(error.code, 507))


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def app(desk: Desk, token: str, port: int) -> Guard:
    """The application behind its guard, as it answers at http://127.0.0.1:PORT/TOKEN/."""
    handlers: Any = {UserError: _refused, HTTPException: _http_error}
    return Guard(Starlette(routes=Answers(desk).routes(), exception_handlers=handlers), token, f"{LOOPBACK}:{port}")


def serve(
    dataset: DatasetStore, asked: Recipe, file: Path, *, port: int = 0, ready: Callable[[str], None] = lambda _: None
) -> None:
    """Serve the page until Ctrl-C. `file` is the CSV that decisions are written to; `ready` is given the address.

    Port and token are those of the last time where they are free, so that a page left open finds its server again.
    Raises UserError where the port is taken.
    """
    from etl.pipeline import bring
    from etl.steps import Site

    done = bring(asked, Site(dataset, 0), "extract")
    desk = open_desk(dataset, asked, done["extract"], file)
    token, last = remembered(dataset.root / "review.json")
    listening = bound(port, last)
    chosen = int(listening.getsockname()[1])
    token = token if chosen == last else new_token()  # another program may listen there, and be sent the old one
    remember(dataset.root / "review.json", token, chosen)
    config = uvicorn.Config(
        app(desk, token, chosen), log_level="error", access_log=False, server_header=False, lifespan="off",
        timeout_graceful_shutdown=1, ws="none",
    )  # fmt: skip
    try:
        _Server(config, lambda: ready(f"http://{LOOPBACK}:{chosen}/{token}/")).run(sockets=[listening])
    except KeyboardInterrupt:
        pass
    finally:
        desk.close()
        listening.close()


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()
