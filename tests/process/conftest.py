"""One worker process per module, shared by its tests; what a test leaves in it is taken out before the next."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.support import loop
from tests.support.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def shared_worker(request: pytest.FixtureRequest) -> Iterator[WorkerProcess]:
    """With the flags in the module's FLAGS."""
    stack = contextlib.AsyncExitStack()
    flags = getattr(request.module, "FLAGS", ())
    worker = loop.run(stack.enter_async_context(WorkerProcess.running(*flags)))
    yield worker
    loop.run(stack.aclose())


@pytest.fixture
def worker(shared_worker: WorkerProcess) -> Iterator[WorkerProcess]:
    yield shared_worker
    print(shared_worker.text())  # pytest shows it where a test failed
    failures = [failure for given in shared_worker.given for peer in given.peers for failure in peer.failures]
    loop.run(shared_worker.clear())
    loop.run(shared_worker.quiet())
    assert not failures, failures
    assert "internal error" not in shared_worker.text(), shared_worker.text()
