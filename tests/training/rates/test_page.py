from pathlib import Path

from tests.pages import addresses
from training.rates.page import sparkline, write_curve
from training.rates.search import curve

FALLING = curve([(1e-6 * 10 ** (n / 20), 3 - n / 50) for n in range(100)])
GROWING = curve([(1e-6 * 10 ** (n / 20), 1 + n / 50) for n in range(100)])


class TestPage:
    """One file that opens from disk, and its numbers beside it."""

    def test_it_says_the_rate_and_needs_nothing(self, tmp_path: Path) -> None:
        page = write_curve(FALLING, "a <b>run</b>", tmp_path / "new" / "curve.html")
        text = page.read_text("utf-8")
        assert f"{FALLING.suggested:.2g}" in text
        assert "<b>run</b>" not in text
        assert not [each for each in addresses(text) if not each.startswith("#")]
        assert page.with_suffix(".csv").read_text("utf-8") == FALLING.as_csv()

    def test_it_says_that_nothing_fell(self, tmp_path: Path) -> None:
        assert "The loss never fell" in write_curve(GROWING, "run", tmp_path / "curve").read_text("utf-8")

    def test_it_says_how_many_batches_lie_outside(self, tmp_path: Path) -> None:
        wild = curve([(1e-6 * 10 ** (n / 20), 9.0 if n in (40, 41) else 3 - n / 50) for n in range(100)])
        assert "2 batches of larger loss lie above" in write_curve(wild, "run", tmp_path / "curve").read_text("utf-8")

    def test_a_terminal_sees_it_fall(self) -> None:
        line = sparkline(FALLING)
        assert (line[0], line[-1], len(line)) == ("█", "▁", 60)
