"""Which address instances call back to. Found once, at start; every look-up is short and may fail.

In this order: the configured host; the variable named by EnvVarForCallbackIp; the ECS task's awsvpc address (task
metadata version 4); the EC2 machine's address (instance metadata, with a session token); 127.0.0.1, which only a local
Lambda can reach.
"""

import http.client
import ipaddress
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lambda_dispatch.config import RouterConfig

TIMEOUT = 0.5  # s per read; both services are on the machine itself
MOST = 256 * 1024  # bytes of an answer; a task's metadata is a few KiB
EC2_METADATA = "http://169.254.169.254"


class Callback(NamedTuple):
    host: str  # name or address, as in a URL: an IPv6 address has its brackets
    source: str  # where it came from, for the log
    cluster: str = ""  # of the ECS task, "" elsewhere

    def url(self, scheme: str, port: int) -> str:
        return f"{scheme}://{self.host}:{port}/api/chunked"


def find(config: RouterConfig, environ: Mapping[str, str]) -> Callback:
    if config.callback_host:
        return Callback(_bracketed(config.callback_host), "RouterCallbackHost")
    named = environ.get(config.env_var_for_callback_ip, "").strip()
    if named:
        return Callback(_bracketed(named), config.env_var_for_callback_ip)
    task = environ.get("ECS_CONTAINER_METADATA_URI_V4", "")
    if task and (found := _ecs(task)):
        return found
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and (
        found := _ec2(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or EC2_METADATA)
    ):
        return found
    return Callback("127.0.0.1", "nothing else found")


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


def _address(text: object) -> str | None:
    try:
        return str(ipaddress.ip_address(str(text).strip()))
    except ValueError:
        return None


def _ecs(uri: str) -> Callback | None:
    try:
        metadata = json.loads(_request("GET", uri, "", {}))
        for network in metadata["Networks"]:
            if network["NetworkMode"] == "awsvpc" and (address := _address(network["IPv4Addresses"][0])):
                return Callback(address, "ECS task metadata", _cluster(metadata))
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        pass
    return None


def _cluster(metadata: Mapping[str, Any]) -> str:
    # arn:aws:ecs:region:account:task/cluster/id
    parts = str(metadata.get("TaskARN", "")).split("/")
    return parts[1] if len(parts) > 2 else ""


def _ec2(endpoint: str) -> Callback | None:
    try:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = _request("PUT", endpoint, "/latest/api/token", lifetime).decode("ascii").strip()
        shown = {"X-aws-ec2-metadata-token": token}
        address = _address(_request("GET", endpoint, "/latest/meta-data/local-ipv4", shown).decode("ascii"))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    return Callback(_bracketed(address), "EC2 instance metadata") if address else None


def _request(method: str, base: str, path: str, headers: Mapping[str, str]) -> bytes:
    """The body of a 200, by http.client because these services must never be asked through a proxy."""
    parts = urlsplit(base)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"not an http URL: {base}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT)
    try:
        connection.request(method, (parts.path.rstrip("/") + path) or "/", headers=dict(headers))
        response = connection.getresponse()
        body = response.read(MOST)
    finally:
        connection.close()
    if response.status != 200:
        raise ValueError(f"{method} {path} answered {response.status}")
    return body
