"""Descendants that left their family: an embedded Lambda is their parent while it runs, and no longer."""

import ctypes
import os
import subprocess

from lambda_dispatch.local.environment.process import children, orphans_adopted, reap
from tests.support.supervised import until

PR_GET_CHILD_SUBREAPER = 37  # linux/prctl.h
LEAVES_ONE = ["sh", "-c", "exec 3<&0; cat <&3 >/dev/null & echo $!"]


def adopts() -> bool:
    found = ctypes.c_int()
    ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(found), 0, 0, 0)
    return bool(found.value)


def test_an_orphan_is_adopted_and_waited_for() -> None:
    held, end = os.pipe()
    with orphans_adopted():
        assert adopts()
        orphan = int(subprocess.run(LEAVES_ONE, stdin=held, stdout=subprocess.PIPE, check=True).stdout)
        assert orphan in children(os.getpid())
        reap()
        assert orphan in children(os.getpid())
        os.close(end)
        until(lambda: reap() or orphan not in children(os.getpid()), "the orphan has been waited for")
    os.close(held)
    assert not adopts()
