import platform
import subprocess
import sys

import pytest

# Page faults while six blocks of 20 MB come and go, once the process has grown.
SCRIPT = """
import ctypes, resource, sys
from metagnn.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
size = 20 * 2**20
def work():
    blocks = [libc.malloc(size) for _ in range(6)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks:
        libc.free(block)
for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
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
