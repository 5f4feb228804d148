"""Settings shared by all tests: one thread, no display, reproducible property tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from hypothesis import settings

# No deadline: the first call of a torch operator is far slower than the next ones.
settings.register_profile("metagnn", deadline=None, derandomize=True)
settings.load_profile("metagnn")
