"""How the comparison's numbers read, on a page and on a terminal."""

from manifests.pages.fragments import THIN


def size(number: int, space: str = THIN) -> str:
    """Bytes: 4.6 MB; powers of ten, as disks are sold."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.3g}{space}{unit}"
        value /= 1000
    return f"{value:.3g}{space}GB"
