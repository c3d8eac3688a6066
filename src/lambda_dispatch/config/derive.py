"""Checks that need two values at once, and values that follow from others."""

import ipaddress
import os
from typing import Any

from lambda_dispatch import cpus
from lambda_dispatch import function_name as names
from lambda_dispatch.config.findings import Findings
from lambda_dispatch.config.options import DEFAULT_CERT, DEFAULT_KEY, MAX_WORKERS, default_of
from lambda_dispatch.errors import CertificateError
from lambda_dispatch.scaler import schedule as schedules
from lambda_dispatch.tls import check as check_certificate
from lambda_dispatch.tls import check_authorities


def derive(reader: Findings) -> None:
    values, sources, problems = reader.values, reader.sources, reader.problems

    def get(attribute: str) -> Any:
        return values.get(attribute, default_of(attribute))

    def follow(attribute: str, value: Any, why: str) -> None:
        values[attribute] = value
        sources[attribute] = f"derived: {why}"

    given = get("function_name")
    parsed = names.parse(given)
    if parsed is None:
        state = "is not set" if given == "" else f"is {given!r}"
        problems.append(
            f"{reader.name_of('function_name')} {state}; it must be a function's name ([A-Za-z0-9_-], at most 64), "
            "name:qualifier, or its full ARN"
        )
    else:
        values["function_name"] = parsed.name
        if parsed.qualifier is not None:
            follow("function_qualifier", parsed.qualifier, reader.name_of("function_name"))

    most = get("max_concurrent_count")
    if get("channel_count") == -1:
        follow("channel_count", min(2 * most, 100), "2 x MaxConcurrentCount, at most 100")
    elif get("channel_count") < most:
        problems.append(
            f"{reader.name_of('channel_count')} is {get('channel_count')}; it must be from MaxConcurrentCount "
            f"({most}) to 100, or -1: twice MaxConcurrentCount, at most 100"
        )
    if get("min_instances") > get("max_instances"):
        problems.append(
            f"{reader.name_of('min_instances')} is {get('min_instances')}; it must not be more than MaxInstances "
            f"({get('max_instances')})"
        )
    try:
        schedule = schedules.parse(get("min_instances_schedule"))
    except schedules.ScheduleError as error:
        problems.append(f"{reader.name_of('min_instances_schedule')}: {error}")
    else:
        if schedule is not None and schedule.most > get("max_instances"):
            problems.append(
                f"{reader.name_of('min_instances_schedule')} asks for {schedule.most} instances; none of its entries "
                f"may ask for more than MaxInstances ({get('max_instances')})"
            )
    if get("frozen_spares") > get("start_burst"):
        problems.append(
            f"{reader.name_of('frozen_spares')} is {get('frozen_spares')}; a round of them is sent at once, so it must "
            f"not be more than StartBurst ({get('start_burst')})"
        )
    if get("target_concurrency") > most:
        problems.append(
            f"{reader.name_of('target_concurrency')} is {get('target_concurrency')}; it must be auto, or from 0 "
            f"to MaxConcurrentCount ({most}), which is what an instance takes at most"
        )
    if "instance_count_multiplier" in sources and get("scaling_algorithm") == "adaptive":
        reader.warnings.append(
            f"{reader.name_of('instance_count_multiplier')} has no effect with ScalingAlgorithm=adaptive; "
            "set ScalingAlgorithm=simple to scale by it, or remove it"
        )
    if get("max_cost_per_hour") and not get("function_memory_mb"):
        problems.append(
            f"{reader.name_of('max_cost_per_hour')} is {get('max_cost_per_hour'):g}, but FunctionMemoryMb is not set; "
            "set it to the memory of the function, without which its cost is not known"
        )
    _derive_tls(reader, get, follow)
    _check_ports(reader, get)
    tokens = ("admin_token", "admin_token_file", "admin_read_token", "admin_read_token_file")
    guarded = get("admin_read_only") or any(get(name) for name in tokens)
    if get("admin_port") >= 0 and not (_is_loopback(get("admin_host")) or guarded):
        problems.append(
            f"{reader.name_of('admin_host')} is {get('admin_host')!r}, which others can reach; set AdminToken, or "
            "AdminReadOnly=true to let everybody read, or keep 127.0.0.1"
        )

    if get("admin_open_control") and not _is_loopback(get("admin_host")):
        problems.append(
            f"{reader.name_of('admin_open_control')} would let everybody who reaches {get('admin_host')!r} give "
            "commands; set AdminToken instead, or keep AdminHost 127.0.0.1"
        )
    for name in ("admin_token", "admin_read_token"):
        path = get(f"{name}_file")
        if path and get(name):
            problems.append(f"{reader.name_of(f'{name}_file')} and {reader.name_of(name)} are both set; keep one")
        elif path and not (os.path.isfile(path) and os.access(path, os.R_OK)):
            problems.append(f"{reader.name_of(f'{name}_file')} is {path!r}, which is no file that can be read")

    if get("workers") == 0:
        usable = min(cpus.usable(), MAX_WORKERS)
        cap = get("max_worker_threads")
        follow(
            "workers", min(cap, usable) if cap else usable, f"{usable} CPUs usable, MaxWorkerThreads {cap or 'unset'}"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _derive_tls(reader: Findings, get: Any, follow: Any) -> None:
    files = {attribute: get(attribute) for attribute in ("cert_file", "key_file")}
    present = True
    for attribute, path in files.items():
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            present = False
            if attribute in reader.sources:
                state = "which is a directory" if os.path.isdir(path) else "which cannot be read"
                reader.problems.append(
                    f"{reader.name_of(attribute)} is {path!r}, {state}; "
                    "name a readable PEM file, or leave it out to go without a certificate"
                )
    if present:
        try:
            check_certificate(files["cert_file"], files["key_file"])
        except CertificateError as error:
            reader.problems.append(f"{error}; name a PEM certificate chain and its private key")
    else:
        for attribute in files:
            follow(attribute, "", f"no certificate: {DEFAULT_CERT} or {DEFAULT_KEY} cannot be read")
    insecure = get("allow_insecure_control")
    authorities = get("control_client_ca")
    if authorities:
        try:
            check_authorities(authorities)
        except CertificateError as error:
            reader.problems.append(f"{error}; name a PEM file of CA certificates, or leave it out")
        if insecure:
            reader.problems.append(
                f"{reader.name_of('control_client_ca')} is set while AllowInsecureControlChannel is true: the port "
                "without TLS asks for no certificate; turn it off, or leave ControlClientCA out"
            )
    if get("preferred_control_scheme") == "http" and not insecure:
        reader.problems.append(
            f"{reader.name_of('preferred_control_scheme')} is 'http' while AllowInsecureControlChannel is false; "
            "allow it, or use https"
        )
    elif not present and insecure and "preferred_control_scheme" not in reader.sources:
        follow("preferred_control_scheme", "http", "there is no certificate")
    if not present and get("preferred_control_scheme") == "https":
        follow("self_signed", True, "instances call back over TLS, and there is no certificate")


def _check_ports(reader: Findings, get: Any) -> None:
    certificate = bool(get("cert_file"))
    open_ports = {
        "http_port": True,
        "https_port": certificate,
        "control_http_port": get("allow_insecure_control"),
        "control_https_port": certificate or reader.values.get("self_signed", False),
    }
    seen: dict[int, str] = {}
    for attribute in (attribute for attribute, opens in open_ports.items() if opens):
        port = get(attribute)
        if port and port in seen:
            reader.problems.append(
                f"{reader.name_of(seen[port])} and {reader.name_of(attribute)} are both {port}; "
                "each port needs a number of its own"
            )
        seen.setdefault(port, attribute)
