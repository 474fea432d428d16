"""How a comparison of runs is shown: on a terminal, and as one HTML file that needs nothing else.

`terminal` has the lines, `page` writes the file and the CSVs beside it, `sections/` holds one module a section of it,
`charts` what they draw with, `pictures` the images.
"""

from training.comparison.page import write_comparison
from training.comparison.terminal import shown

__all__ = ["shown", "write_comparison"]
