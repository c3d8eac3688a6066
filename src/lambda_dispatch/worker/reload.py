"""A worker takes a new configuration: what config/live.py calls live, and the certificate. Nothing is closed."""

from __future__ import annotations

import contextlib
import os
import ssl
from typing import TYPE_CHECKING

from lambda_dispatch.config import RouterConfig
from lambda_dispatch.dispatch.model import set_answer_limits, set_guest_debug
from lambda_dispatch.front.function_header import FunctionGate
from lambda_dispatch.settings import Document
from lambda_dispatch.telemetry import log
from lambda_dispatch.telemetry.access import AccessLog

if TYPE_CHECKING:
    from lambda_dispatch.worker.process import Worker


def take(worker: Worker, document: Document) -> None:
    apply(worker, document.config)
    if document.certificate:
        renew(list(worker.contexts), document.certificate, document.key)


def apply(worker: Worker, config: RouterConfig) -> None:
    """Also what a new worker does: an option that is live is read here."""
    before, worker.config = worker.config, config
    log.configure(f"worker {worker.boot.index}", config.log_level, config.log_format)
    worker.overrides.configure(config.log_level)
    door = worker.door
    door.apply(config)
    worker.matcher.tunnels.apply(config)
    worker.matcher.set_limits(config.max_queue, config.incoming_request_timeout)
    worker.control.apply(config)
    worker.handshakes.set_timeout(config.head_timeout)
    worker.memory.set_budget(config.memory_budget)
    set_answer_limits(config.response_head_bytes, config.max_head_fields)
    debug = _debug if config.allow_debug_header else None
    door.on_debug = debug
    set_guest_debug(debug)
    assert door.pool is not None
    name = worker.board.pool_name(0)
    door.by_name = (
        FunctionGate(config, worker.board, worker.hub, worker.matcher, door.pool, name).pool
        if config.allow_function_header
        else None
    )
    form = (config.access_log, config.access_log_fields)
    if door.access is None or form != (before.access_log, before.access_log_fields):
        if door.access is not None:
            door.access.flush()
        fields = tuple(config.access_log_fields.split(","))
        door.access = None if config.access_log == "off" else AccessLog(1, config.access_log, fields)
    worker.matcher.tells_instance = door.access is not None or door.tracer is not None


def renew(contexts: list[ssl.SSLContext], certificate: str, key: str) -> None:
    """New connections are given the new certificate."""
    with contextlib.ExitStack() as undo:
        paths = []
        for content in (certificate, key):
            fd = os.memfd_create("certificate")
            undo.callback(os.close, fd)
            with open(fd, "w", closefd=False) as file:
                file.write(content)
            paths.append(f"/proc/self/fd/{fd}")
        for context in contexts:
            context.load_cert_chain(*paths)


def _debug(request: bytes, stage: str, milliseconds: float) -> None:
    log.info("request", request=request.decode("ascii", "replace"), stage=stage, after_ms=round(milliseconds, 3))
