"""A worker and an extension, both as we ship them: the invoke sends the extension to the worker's control port."""

import base64
import os

from tests.support.extension_rig import Rig
from tests.support.worker_process import Given, WorkerProcess


def join(worker: WorkerProcess, rig: Rig, channels: int) -> Given:
    """Invokes the extension's function as an instance of the worker that takes this many requests."""
    given, secret = worker.start(channels), os.urandom(16)
    worker.board.set_secret(given.slot, secret)
    rig.invoke(
        channels,
        890.0,
        PoolId=None,
        Id=given.id,
        DispatcherUrl=f"http://127.0.0.1:{worker.ports['control_http']}/api/chunked",
        Secret=base64.urlsafe_b64encode(secret).decode().rstrip("="),
    )
    return given
