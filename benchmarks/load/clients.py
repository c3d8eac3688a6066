"""Who asks: wrk for HTTP/1.1, h2load for HTTP/2. One round's figures from what they print."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.machine import find

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

# What a browser sends with each request, some 900 bytes.
BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "accept-encoding": "identity",
    "accept-language": "en-GB,en;q=0.9,de;q=0.8,fr;q=0.7",
    "cache-control": "max-age=0",
    "cookie": "session=" + "a1b2c3d4" * 16 + "; theme=dark; consent=" + "0123456789" * 8,
    "referer": "https://shop.example.com/catalogue/shoes/running?page=3&sort=price&colour=blue",
    "sec-ch-ua": '"Not/A)Brand";v="8", "Chromium";v="126", "Google Chrome";v="126"',
    "sec-ch-ua-mobile": "?0",
    "sec-ch-ua-platform": '"Linux"',
    "sec-fetch-dest": "document",
    "sec-fetch-mode": "navigate",
    "sec-fetch-site": "same-origin",
    "upgrade-insecure-requests": "1",
}


@dataclass
class Load:
    """What is asked, by how many connections."""

    target: str = "/4"
    connections: int = 64
    headers: dict[str, str] | None = None
    body: int = 0  # bytes of a POST's body; 0: GET
    http2: bool = False
    tls: bool = False
    streams: int = 1  # at once on each connection, HTTP/2


@dataclass
class Figures:
    requests: int
    seconds: float
    p50: float  # s; 0 when the client does not say
    p99: float
    errors: int


class ClientFailed(Exception):
    pass


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)([a-z]+)", text).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def wrk(load: Load, port: int, duration: float, core: int, scratch: Path) -> Figures:
    command = [
        find("wrk"),
        "-t1",
        f"-c{load.connections}",
        f"-d{max(1, round(duration))}s",
        "--latency",
        "--timeout=30s",
    ]
    for name, value in (load.headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    if load.body:
        script = scratch / f"post-{load.body}.lua"
        script.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {load.body})\n')
        command += ["-s", str(script)]
    scheme = "https" if load.tls else "http"
    text = run([*command, f"{scheme}://127.0.0.1:{port}{load.target}"], core)
    found = re.search(r"(\d+) requests in ([\d.]+[a-z]+)", text)
    if found is None:
        raise ClientFailed(text)
    p50, p99 = (re.search(rf"{share}%\s+([\d.]+[a-z]+)", text) for share in (50, 99))
    errors = sum(int(n) for line in re.findall(r"Socket errors: (.*)", text) for n in re.findall(r"\d+", line))
    wrong = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Figures(
        int(found[1]),
        seconds(found[2]),
        seconds(p50[1]) if p50 else 0.0,
        seconds(p99[1]) if p99 else 0.0,
        errors + (int(wrong[1]) if wrong else 0),
    )


def h2load(load: Load, port: int, duration: float, core: int, scratch: Path) -> Figures:
    command = [find("h2load"), "-t1", f"-c{load.connections}", f"-m{load.streams}", f"-D{max(1, round(duration))}"]
    log = scratch / "h2load.log"
    log.unlink(missing_ok=True)
    command.append(f"--log-file={log}")
    for name, value in (load.headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    if load.body:
        data = scratch / f"body-{load.body}"
        if not data.exists():
            data.write_bytes(b"x" * load.body)
        command += ["-d", str(data)]
    scheme = "https" if load.tls else "http"
    text = run([*command, f"{scheme}://127.0.0.1:{port}{load.target}"], core)
    counted = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
    if counted is None:
        raise ClientFailed(text)
    times = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines()) if log.exists() else []
    p50, p99 = (times[int(len(times) * share)] / 1e6 if times else 0.0 for share in (0.5, 0.99))
    return Figures(int(counted[1]), float(max(1, round(duration))), p50, p99, int(counted[2]) + int(counted[3]))


def run(command: list[str], core: int) -> str:
    done = subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, text=True)
    if done.returncode != 0:
        raise ClientFailed(done.stdout + done.stderr)
    return done.stdout


def ask(load: Load, port: int, duration: float, core: int, scratch: Path) -> Figures:
    return (h2load if load.http2 else wrk)(load, port, duration, core, scratch)
