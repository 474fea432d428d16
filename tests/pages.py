"""What the tests of the pages read them with."""

import html
import re
from html.parser import HTMLParser


class Page(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def addresses(text: str) -> list[str]:
    """All that a page points to."""
    named = {"src", "href", "srcset", "action", "data", "poster", "xlink:href"}
    return [str(value) for _, given in Page(text).tags for name, value in given.items() if name in named]


def section(text: str, name: str) -> str:
    """What a reader sees of one section, without tags."""
    found = re.search(rf'<section id="{name}".*?</section>', text, re.DOTALL)
    assert found, f"no section {name}"
    return " ".join(html.unescape(re.sub("<wbr>", "", re.sub("<(?!wbr)[^>]*>", " ", found[0]))).split())
