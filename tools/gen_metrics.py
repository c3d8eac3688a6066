"""Writes what is made from the description of the metrics (src/lambda_dispatch/telemetry/metrics.py), of the alerts and
recording rules (tools/alerts.py) and of the dashboard (tools/dashboard.py):

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

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tools.alerts import ALERTS, RULES  # noqa: E402
from tools.dashboard import dashboard  # noqa: E402

from lambda_dispatch.telemetry.metrics import FAMILIES  # noqa: E402

ABSENT = [
    "## What is not here",
    "",
    "| what | why |",
    "| --- | --- |",
    "| a label with the instance's id | Each would be a series that ends within 15 minutes. `/api/v1/instances` and "
    "`/api/v1/lives` of the admin port have them. |",
    "| a retry budget | There is none: a request is sent again at most once. `lambda_dispatch:retries:ratio_rate5m` is "
    "the share that was. |",
    "| `protocol` on `connections_accepted_total` | A connection is accepted before it has said what it speaks. "
    "`connections` has the label. |",
    "| `what` on `override_active` | The label is `kind`, the name that this figure has in `/api/v1/state`, too. |",
    "| CPU, memory and requests of the environments | They are Lambda's: CloudWatch has them. |",
]

NOTE = "# Written by tools/gen_metrics.py from tools/alerts.py. Change it there.\n"


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
        "`src/lambda_dispatch/telemetry/metrics.py`, `tools/alerts.py` and `tools/dashboard.py`.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        lines.append(f"| `{family.full}` | {family.kind} | {labels} | {family.help} |")
    lines += ["", *ABSENT, "", "## Alerts", "", "| alert | for | severity | meaning |", "| --- | --- | --- | --- |"]
    for alert in ALERTS:
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"(\1)", alert.summary)
        lines.append(f"| `{alert.name}` | {alert.wait} | {alert.severity} | {summary} |")
    lines += ["", "## Recording rules", "", "| rule | expression |", "| --- | --- |"]
    lines += [f"| `{name}` | `{expression.replace('|', chr(92) + '|')}` |" for name, expression in RULES.items()]
    return "\n".join([*lines, ""])


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
