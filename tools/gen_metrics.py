"""Writes what is made from the metrics' description (src/lambda_dispatch/telemetry/metrics.py):

docs/metrics.md                         the reference
contrib/prometheus/rules.yaml           recording rules
contrib/prometheus/alerts.yaml          alerts
contrib/prometheus/alerts_test.yaml     `promtool test rules`: each alert fires, and stays silent
contrib/grafana/lambda-dispatch.json    dashboard

python tools/gen_metrics.py             writes them; a house test compares
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tools.alerts import ALERTS, RULES, m  # noqa: E402

from lambda_dispatch.telemetry.metrics import FAMILIES  # noqa: E402

NOTE = "# Written by tools/gen_metrics.py. Change it there.\n"


def q(text: str) -> str:
    """A YAML string."""
    return json.dumps(text, ensure_ascii=False)


def rules() -> str:
    lines = [NOTE + "groups:", "  - name: lambda-dispatch", "    rules:"]
    for name, expression in RULES.items():
        lines += [f"      - record: {name}", f"        expr: {q(expression)}"]
    return "\n".join([*lines, ""])


def alerts() -> str:
    lines = [NOTE + "groups:", "  - name: lambda-dispatch-alerts", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            f"        expr: {q(alert.query)}",
            f"        for: {alert.wait}",
            f"        labels: {{severity: {alert.severity}}}",
            f"        annotations: {{summary: {q(alert.summary)}}}",
        ]
    return "\n".join([*lines, ""])


def alert_tests() -> str:
    lines = [NOTE + "rule_files: [rules.yaml, alerts.yaml]", "evaluation_interval: 1m", "tests:"]
    for alert in ALERTS:
        for series, fires in ((alert.fires, True), (alert.silent, False)):
            lines += ["  - interval: 1m", "    input_series:"]
            lines += [f"      - {{series: {q(_job(name))}, values: {q(values)}}}" for name, values in series.items()]
            # ALERTS has a series for each alert that fires, whatever its labels.
            count = [f"          - {{labels: {q('{}')}, value: 1}}"] if fires else []
            expression = f'count(ALERTS{{alertname="{alert.name}",alertstate="firing"}})'
            lines += [
                "    promql_expr_test:",
                f"      - expr: {q(expression)}",
                f"        eval_time: {alert.looked_at}",
            ]
            lines += ["        exp_samples:", *count] if fires else ["        exp_samples: []"]
    return "\n".join([*lines, ""])


def _job(series: str) -> str:
    if "job=" in series:
        return series
    return series[:-1] + ',job="r"}' if series.endswith("}") else series + '{job="r"}'


def reference() -> str:
    lines = [
        "# Metrics",
        "",
        "`/metrics` of the admin port answers in Prometheus' text format, in OpenMetrics, or in protobuf with native",
        "histograms, as the Accept field asks. Histograms are exact: the router counts in buckets of a quarter octave,",
        "which are those of a native histogram with schema 2 and of an OTLP exponential histogram with scale 2; text",
        "shows their powers of two. Recording rules and alerts are in `contrib/prometheus`, a dashboard to import in",
        "`contrib/grafana`. This page and those files are written by `tools/gen_metrics.py` from",
        "`src/lambda_dispatch/telemetry/metrics.py`.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.full}` | {family.kind} | {labels} | {family.help} |")
    lines += ["", "## Alerts", "", "| alert | for | severity | meaning |", "| --- | --- | --- | --- |"]
    for alert in ALERTS:
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"(\1)", alert.summary)
        lines.append(f"| `{alert.name}` | {alert.wait} | {alert.severity} | {summary} |")
    lines += ["", "## Recording rules", "", "| rule | expression |", "| --- | --- |"]
    lines += [f"| `{name}` | `{expression.replace('|', chr(92) + '|')}` |" for name, expression in RULES.items()]
    return "\n".join([*lines, ""])


# The dashboard: rows of panels, two or three beside each other. (title, unit, {legend: expression})
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
            },
        ),
        ("Cold start", "s", quantiles("cold_start_seconds")),
        (
            "Environments: billed, and by Lambda's own dispatch",
            "short",
            {
                "billed": rate("environment_seconds_total", "job"),
                "with a request": rate("environment_busy_seconds_total", "job"),
                "by Lambda's own dispatch": rate("direct_environment_seconds_total", "job"),
                "budget spent": last("budget_spent", "job"),
            },
        ),
        (
            "Cost per second",
            "currencyUSD",
            {"cost": rate("cost_usd_total", "job"), "by Lambda's own dispatch": rate("direct_cost_usd_total", "job")},
        ),
        ("Predicted wait", "s", {"next request": last("predicted_wait_seconds", "job")}),
        (
            "Lives",
            "ops",
            {
                "decisions {{direction}}": rate("scale_decisions_total", "direction"),
                "starts": rate("instance_starts_total", "job"),
                "failed": rate("instance_starts_failed_total", "job"),
                "ended": rate("instances_ended_total", "job"),
                "invokes": rate("invokes_by_function_total", "job"),
            },
        ),
        (
            "Invokes",
            "ops",
            {
                word: rate(f"{name}_total", "job", JOB)
                for word, name in (
                    ("sent", "invokes"),
                    ("ended", "invokes_ended"),
                    ("failed", "invokes_failed"),
                    ("throttled", "invokes_throttled"),
                )
            },
        ),
        (
            "Starts",
            "short",
            {
                "invokes open": last("invokes_open", "job", JOB),
                "start budget": last("start_budget", "job", JOB),
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
                "{{version}} Python {{python}}": last("build_info", "version, python", JOB),
            },
        ),
        (
            "Connections",
            "short",
            {
                "{{side}}": last("connections", "side", JOB),
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


FILES = {
    "docs/metrics.md": reference,
    "contrib/prometheus/rules.yaml": rules,
    "contrib/prometheus/alerts.yaml": alerts,
    "contrib/prometheus/alerts_test.yaml": alert_tests,
    "contrib/grafana/lambda-dispatch.json": dashboard,
}


def main() -> None:
    for name, text in FILES.items():
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_text(text())


if __name__ == "__main__":
    main()
