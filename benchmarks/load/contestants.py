"""Who runs: each proxy as its manual would have it set up for this job, one process with one thread, access log off."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.load.machine import Stage, connections_at_most, descendants, find, pin, title, until

from lambda_dispatch.telemetry.status import open_board

INSTANCES = 10
START = "import sys; sys.executable = sys.argv.pop(1); from lambda_dispatch.cli import main; sys.exit(main())"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Contestant:
    """A running proxy: its ports, the processes whose CPU is its figure, and those beside them."""

    def __init__(
        self, name: str, port: int, tls_port: int, pids: list[int], beside: list[int], control_port: int = 0
    ) -> None:
        self.name = name
        self.port = port
        self.tls_port = tls_port
        self.pids = pids
        self.beside = beside
        self.control_port = control_port  # ours alone has one


def certificate(stage: Stage) -> tuple[Path, Path]:
    """A self-signed certificate (P-256) and its key, made once per run."""
    cert, key = stage.scratch / "cert.pem", stage.scratch / "key.pem"
    if not cert.exists():
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
        command = [find("openssl"), "req", "-x509", *curve, "-keyout", str(key), "-out", str(cert), "-days", "2"]
        subprocess.run(command, check=True, capture_output=True)
    return cert, key


def nginx(stage: Stage, h1: int, h2: int, access_log: str = "off") -> Contestant:
    port, tls_port = free_port(), free_port()
    cert, key = certificate(stage)
    directory = stage.scratch / f"nginx-{access_log != 'off'}"
    directory.mkdir()
    config = directory / "nginx.conf"
    config.write_text(f"""
worker_processes 1;
daemon off;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections {2 * connections_at_most()}; }}
http {{
    access_log {access_log};
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    upstream app {{ server 127.0.0.1:{h1}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen 127.0.0.1:{tls_port} ssl http2 backlog=4096;
        ssl_certificate {cert};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Port $server_port;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
""")
    process = stage.start([find("nginx"), "-p", str(directory), "-c", str(config)], stage.contestant_core, "nginx")
    until(lambda: reachable(port) and bool(descendants(process.pid)), lambda: f"nginx: {stage.log('nginx')}")
    label = "nginx h1-h1" if access_log == "off" else "nginx h1-h1, access log"
    return Contestant(label, port, tls_port, descendants(process.pid), [])


def haproxy(stage: Stage, h1: int, h2: int, upstream: str, servers: int = 1) -> Contestant:
    """servers: how many it believes it has, each with a connection of its own over h2; the least busy is next."""
    port, tls_port = free_port(), free_port()
    cert, key = certificate(stage)
    both = stage.scratch / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    address = f"127.0.0.1:{h2} proto h2" if upstream == "h2" else f"127.0.0.1:{h1}"
    name = f"haproxy-{upstream}-{servers}"
    config = stage.scratch / f"{name}.cfg"
    lines = "\n    ".join(f"server app{number} {address}" for number in range(servers))
    config.write_text(f"""
global
    nbthread 1
    maxconn {connections_at_most()}
defaults
    mode http
    option forwardfor
    http-reuse always
    timeout connect 10s
    timeout client 75s
    timeout server 75s
    timeout http-request 10s
frontend front
    bind 127.0.0.1:{port} backlog 4096
    bind 127.0.0.1:{tls_port} ssl crt {both} alpn h2,http/1.1 backlog 4096
    http-request set-header X-Forwarded-Port {port}
    default_backend app
backend app
    balance leastconn
    {lines}
""")
    process = stage.start([find("haproxy"), "-db", "-f", str(config)], stage.contestant_core, name)
    until(lambda: reachable(port), lambda: f"{name}: {stage.log(name)}")
    label = f"haproxy h1-{upstream}" + ("" if servers == 1 else f", {servers:,} servers")
    return Contestant(label, port, tls_port, [process.pid, *descendants(process.pid)], [])


def nghttpx(stage: Stage, h1: int, h2: int) -> Contestant:
    port, tls_port = free_port(), free_port()
    cert, key = certificate(stage)
    command = [
        find("nghttpx"),
        "--conf=/dev/null",
        "--workers=1",
        "--single-process",
        "--accesslog-file=/dev/null",
        f"--frontend=127.0.0.1,{port};no-tls",
        f"--frontend=127.0.0.1,{tls_port}",
        f"--backend=127.0.0.1,{h2};;proto=h2",
        "--add-x-forwarded-for",
        "--no-ocsp",
        str(key),
        str(cert),
    ]
    process = stage.start(command, stage.contestant_core, "nghttpx")
    until(lambda: reachable(port), lambda: f"nghttpx: {stage.log('nghttpx')}")
    return Contestant("nghttpx h1-h2", port, tls_port, [process.pid], [])


def parked(pid: int) -> int:
    """How many instances of this router have parked channels."""
    board = open_board(pid)
    try:
        return sum(one.channels > 0 for one in board.list_instances())
    finally:
        board.close()


def ours(
    stage: Stage,
    instances: int = INSTANCES,
    access_log: str = "off",
    python: str = sys.executable,
    flags: tuple[str, ...] = (),
    environ: Mapping[str, str] | None = None,
) -> Contestant:
    """The router as shipped, one worker; its instances and their Lambda are played by c/instances.c.

    python: what its processes are started by. environ: more of its environment; it then has its admin process, too."""
    channels = 20 if instances > 3 else 100  # enough for 64 requests at once, as few others hold connections upstream
    _, lambda_port = stage.own("instances")
    cert, key = certificate(stage)
    read_end, write_end = os.pipe()
    name = f"router-{instances}-{access_log}-{lambda_port}"
    command = [
        *(sys.executable, "-c", START, python, "router", "--workers=1", "--function-name=race", *flags),
        *("--bind-host=127.0.0.1", "--callback-host=127.0.0.1", "--allow-insecure-control=true"),
        *("--preferred-control-scheme=http", "--http-port=0", "--https-port=0", "--control-http-port=0"),
        *("--control-https-port=0", f"--cert-file={cert}", f"--key-file={key}"),
        *(f"--min-instances={instances}", f"--max-instances={instances}", f"--max-concurrent-count={channels}"),
        *(f"--channel-count={channels}", "--start-burst=1000", "--start-rate=100", "--lame-duck=0"),
        *(f"--access-log={access_log}", f"--ready-fd={write_end}", "--log-level=warning"),
        f"--admin-port={-1 if environ is None else 0}",
    ]
    environment = {
        "AWS_ENDPOINT_URL_LAMBDA": f"http://127.0.0.1:{lambda_port}",
        "AWS_ACCESS_KEY_ID": "race",
        "AWS_SECRET_ACCESS_KEY": "race",
        "XDG_RUNTIME_DIR": str(stage.scratch),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **(environ or {}),
    }
    process = stage.start(command, stage.other_core, name, environment, [write_end], subprocess.DEVNULL)
    os.close(write_end)
    with os.fdopen(read_end) as ready:
        line = ready.readline()
    if not line:
        raise RuntimeError(f"the router does not start: {stage.log(name)}")
    ports = json.loads(line)
    below = descendants(process.pid)
    workers = [pid for pid in below if "worker" in title(pid)]
    pin(workers, stage.contestant_core)
    until(lambda: parked(process.pid) == instances, lambda: f"{instances} instances: {stage.log(name)}")
    label = "lambda-dispatch" + ("" if access_log == "off" else ", access log")
    if instances != INSTANCES:
        label += f", {instances:,} instance" + ("s" if instances > 1 else "")
    beside = [process.pid, *(pid for pid in below if pid not in workers)]
    return Contestant(label, ports["http"], ports["https"], workers, beside, ports["control_http"])


PEERS: dict[str, Callable[[Stage, int, int], Contestant]] = {
    "nginx": nginx,
    "haproxy-h1": lambda stage, h1, h2: haproxy(stage, h1, h2, "h1"),
    "haproxy-h2": lambda stage, h1, h2: haproxy(stage, h1, h2, "h2"),
    # What the router's job is: to choose among as many as it has instances, each with a connection of its own.
    "haproxy-h2-many": lambda stage, h1, h2: haproxy(stage, h1, h2, "h2", INSTANCES),
    "nghttpx": nghttpx,
}
