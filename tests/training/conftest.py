"""One thread a test process: several processes share the cores, and torch's own threads would wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by torch when it is first imported
