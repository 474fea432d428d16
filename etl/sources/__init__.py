"""Where files come from (`containers.py`) and what their arrangement says of class and split (`layouts.py`).

Nothing here opens an image: files are listed, and small text files beside them are read.
"""
