import platform
import subprocess
import sys

import pytest

# Page faults while tensors of 9 MB come and go, once the process has grown.
SCRIPT = """
import resource, sys
import torch
from metagnn.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
torch.set_num_threads(1)
def work():
    a = torch.ones(9 * 2**18)
    return (a * 2 + 1).sum()
for _ in range(10):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc only")
def test_freed_memory_is_used_again() -> None:
    keep, plain = (
        int(subprocess.check_output([sys.executable, "-c", SCRIPT, word]))
        for word in ("keep", "give")
    )
    assert keep < 0.1 * plain
