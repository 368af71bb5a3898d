"""Freed memory stays with the process where it was asked to, counted in pages that the system had to hand out."""

import subprocess
import sys
from inspect import cleandoc

import pytest

CODE = """
import resource, sys, torch
if sys.argv[1] == "kept":
    import drnn
    assert drnn.keep_freed_memory() and drnn.keep_freed_memory()
elif sys.argv[1] == "command":
    from drnn.cli.main import main
    main(["recipes"])
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    torch.ones(25 * 2**20).add_(1)  # 100 MB
for _ in range(4):  # until the heap has its shape
    use()
before = faults()
for _ in range(4):
    use()
print("pages", faults() - before)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc gives memory back so soon")


def pages(how, **environment):
    run = subprocess.run(
        [sys.executable, "-c", cleandoc(CODE), how], capture_output=True, text=True, check=True, env=environment or None
    )  # fmt: skip
    return int(run.stdout.rsplit("pages", 1)[1])


def test_what_was_freed_is_used_again_and_the_command_does_so():
    returned = pages("returned")
    assert returned > 100
    assert pages("kept") * 10 < returned
    assert pages("command") * 10 < returned


def test_limits_of_the_environment_count():
    assert pages("command", MALLOC_TRIM_THRESHOLD_=str(2**27)) > 100
