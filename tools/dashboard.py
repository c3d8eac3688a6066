"""The dashboard for Grafana: what tools/gen_metrics.py writes to contrib/grafana."""

import json
from typing import Any

from tools.alerts import m

# Rows of panels, three beside each other. (title, unit, {legend: expression})
SELECT = 'job=~"$job",function=~"$function"'
JOB = 'job=~"$job"'


def rate(name: str, by: str, labels: str = SELECT) -> str:
    return f"sum by ({by}) (rate({m(name, labels)}[$__rate_interval]))"


def quantiles(name: str) -> dict[str, str]:
    buckets = rate(f"{name}_bucket", "le")
    return {f"p{round(share * 100)}": f"histogram_quantile({share}, {buckets})" for share in (0.5, 0.9, 0.99)}


def last(name: str, by: str, labels: str = SELECT) -> str:
    return f"sum by ({by}) ({m(name, labels)})"


ROWS: dict[str, list[tuple[str, str, dict[str, str]]]] = {
    "Traffic": [
        ("Requests by status", "reqps", {"{{code}} {{reason}}": rate("requests_total", "code, reason")}),
        ("Rejected", "reqps", {"{{reason}}": rate("requests_rejected_total", "reason")}),
        ("Request duration", "s", quantiles("request_duration_seconds")),
        ("Service duration", "s", quantiles("service_duration_seconds")),
        (
            "Bodies",
            "Bps",
            {
                "requests": rate("request_body_bytes_total", "job"),
                "answers": rate("response_body_bytes_total", "job"),
            },
        ),
        (
            "Retried, interim, health checks",
            "reqps",
            {
                "retried": rate("requests_retried_total", "job"),
                "interim": rate("interim_responses_total", "job", JOB),
                "health checks": rate("health_checks_total", "job", JOB),
            },
        ),
        (
            "Upgraded connections (WebSocket)",
            "short",
            {
                "open": last("upgrades_open", "job", JOB),
                "opened /s": rate("upgrades_total", "job", JOB),
                "ended /s by {{by}}": rate("upgrades_ended_total", "by", JOB),
                "bytes /s {{direction}}": rate("upgraded_bytes_total", "direction", JOB),
            },
        ),
        (
            "gRPC calls",
            "short",
            {
                "open": last("grpc_calls_open", "job", JOB),
                "begun /s": rate("grpc_calls_started_total", "job", JOB),
                "{{status}} /s": rate("grpc_calls_total", "status"),
                "ended /s by {{by}}": rate("grpc_calls_ended_total", "by", JOB),
                "bytes /s {{direction}}": rate("grpc_bytes_total", "direction", JOB),
            },
        ),
    ],
    "Queue": [
        ("Wait for an instance", "s", quantiles("queue_wait_seconds")),
        ("Waiting", "short", {"{{function}}": last("queue_length", "function")}),
        ("Oldest", "s", {"{{function}}": f"max by (function) ({m('queue_oldest_seconds', SELECT)})"}),
    ],
    "Instances": [
        (
            "Instances",
            "short",
            {
                "{{state}}": last("instances", "state"),
                "desired": last("instances_desired", "job"),
                "demand alone": last("instances_desired_raw", "job"),
                "frozen": last("environments_frozen", "job"),
                "min": last("instances_min", "job"),
                "max": last("instances_max", "job"),
            },
        ),
        (
            "Requests at instances",
            "short",
            {
                "in flight": last("in_flight", "job"),
                "idle channels": last("idle_channels", "job"),
                "limit of one": f"max by (function) ({m('instance_limit', SELECT)})",
                "staffed for": f"max by (function) ({m('target_concurrency', SELECT)})",
                "filled up to": f"max by (function) ({m('packed_concurrency', SELECT)})",
            },
        ),
        ("Cold start", "s", quantiles("cold_start_seconds")),
        (
            "Environments: billed, and by Lambda's own dispatch",
            "short",
            {
                "billed": rate("environment_seconds_total", "job"),
                "GB": rate("billed_gigabyte_seconds_total", "job"),
                "with a request": rate("environment_busy_seconds_total", "job"),
                "by Lambda's own dispatch": rate("direct_environment_seconds_total", "job"),
                "budget spent": last("budget_spent", "job"),
            },
        ),
        (
            "Cost per second",
            "currencyUSD",
            {
                "cost": rate("cost_usd_total", "job"),
                "by Lambda's own dispatch": rate("direct_cost_usd_total", "job"),
                "MaxCostPerHour / 3600": last("max_cost_per_hour_usd", "job") + " / 3600",
            },
        ),
        ("Predicted wait", "s", {"next request": last("predicted_wait_seconds", "job")}),
        (
            "Lives",
            "ops",
            {
                "decisions {{direction}}: {{reason}}": rate("scale_decisions_total", "direction, reason"),
                "starts": rate("instance_starts_total", "job"),
                "failed": rate("instance_starts_failed_total", "job"),
                "ended": rate("instances_ended_total", "job"),
            },
        ),
        (
            "Invokes",
            "ops",
            {
                "sent": rate("invokes_total", "job"),
                "ended: {{outcome}}": rate("invokes_ended_total", "outcome"),
                "failed": rate("invokes_failed_total", "job"),
                "throttled": rate("invokes_throttled_total", "job"),
            },
        ),
        (
            "Starts",
            "short",
            {
                "invokes open": last("invokes_open", "job", JOB),
                "start budget": last("start_budget", "job"),
                "breaker {{state}}": last("breaker_state", "state"),
            },
        ),
        ("Overrides by operators", "short", {"{{function}} {{kind}}": last("override_active", "function, kind", JOB)}),
    ],
    "Router": [
        ("CPU", "short", {"{{process}}": rate("process_cpu_seconds_total", "instance, process", JOB)}),
        ("Memory", "bytes", {"{{process}}": last("process_resident_memory_bytes", "instance, process", JOB)}),
        (
            "Workers",
            "short",
            {
                "{{state}}": last("workers", "state", JOB),
                "starts": f"sum by (job) (increase({m('worker_starts_total', JOB)}[5m]))",
                "silent s {{worker}}": f"max by (worker) ({m('worker_silent_seconds', JOB)})",
                "{{version}} {{git_hash}} Python {{python}}": last("build_info", "version, git_hash, python", JOB),
            },
        ),
        (
            "Event loop lag",
            "s",
            {
                f"p{round(share * 100)} {{{{worker}}}}": f"histogram_quantile({share}, "
                f"{rate('event_loop_lag_seconds_bucket', 'worker, le', JOB)})"
                for share in (0.5, 0.99)
            },
        ),
        (
            "Configuration",
            "short",
            {
                "last reload successful": last("config_last_reload_successful", "instance", JOB),
                "s since it was taken": f"time() - {last('config_reload_success_timestamp_seconds', 'instance', JOB)}",
            },
        ),
        (
            "Connections",
            "short",
            {
                "{{side}} {{protocol}}": last("connections", "side, protocol", JOB),
                "handshakes": last("handshakes", "job", JOB),
                "uploads held": last("uploads_held", "job", JOB),
            },
        ),
        (
            "Connections accepted and refused",
            "ops",
            {
                "accepted {{side}}": rate("connections_accepted_total", "side", JOB),
                "refused": rate("connections_refused_total", "job", JOB),
                "reclaimed": rate("connections_reclaimed_total", "job", JOB),
                "memory {{step}}": rate("memory_pressure_total", "step", JOB),
                "slow {{direction}}": rate("slow_clients_total", "direction", JOB),
            },
        ),
        (
            "Bytes",
            "Bps",
            {
                "read {{side}}": rate("received_bytes_total", "side", JOB),
                "written {{side}}": rate("sent_bytes_total", "side", JOB),
            },
        ),
        (
            "Traces",
            "ops",
            {
                "sent": rate("traced_requests_sent_total", "job", JOB),
                "lost {{reason}}": rate("traced_requests_lost_total", "reason", JOB),
            },
        ),
        ("MemoryBudget", "bytes", {"held": last("memory_held_bytes", "job", JOB)}),
        (
            "Dispatch",
            "ops",
            {
                "by {{by}}": rate("dispatched_total", "by", JOB),
                "for siblings": rate("served_siblings_total", "job", JOB),
                "channels parked": rate("channels_parked_total", "job", JOB),
            },
        ),
    ],
}


def dashboard() -> str:
    panels: list[dict[str, Any]] = []
    source = {"type": "prometheus", "uid": "${datasource}"}
    y = 0
    for row, members in ROWS.items():
        panels.append({"type": "row", "title": row, "id": len(panels) + 1, "gridPos": _place(0, y, 24, 1)})
        y += 1
        for n, (title, unit, expressions) in enumerate(members):
            panels.append(
                {
                    "type": "timeseries",
                    "title": title,
                    "id": len(panels) + 1,
                    "datasource": source,
                    "gridPos": _place(8 * (n % 3), y + 8 * (n // 3), 8, 8),
                    "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
                    "targets": [
                        {"refId": chr(65 + i), "expr": expression, "legendFormat": legend, "datasource": source}
                        for i, (legend, expression) in enumerate(expressions.items())
                    ],
                }
            )
        y += 8 * -(-len(members) // 3)
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        _variable("job", f"label_values({m('build_info')}, job)", source),
        _variable("function", f"label_values({m('instances_desired', JOB)}, function)", source),
    ]
    return (
        json.dumps(
            {
                "title": "lambda-dispatch",
                "uid": "lambda-dispatch",
                "description": "Written by tools/gen_metrics.py.",
                "tags": ["lambda-dispatch"],
                "schemaVersion": 38,
                "version": 1,
                "refresh": "30s",
                "time": {"from": "now-3h", "to": "now"},
                "templating": {"list": variables},
                "panels": panels,
            },
            indent=1,
        )
        + "\n"
    )


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


def _variable(name: str, query: str, source: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": source,
        "query": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }
