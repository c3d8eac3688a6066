"""What an operator is alerted to, once for Prometheus and CloudWatch: name, severity, threshold, reason, expression.

tools/gen_metrics.py writes the Prometheus alerts, tools/gen_deploy.py the CloudWatch alarms of each way to deploy. An
alert has the same threshold in both. CloudWatch gets the figures of the Embedded Metric Format (telemetry/emf.py), one
a minute from each router, or AWS's own figures where those say the same; an alert without an alarm says why.
"""

from typing import NamedTuple

from lambda_dispatch.telemetry.metrics import PREFIX

# Whose figures an alarm reads: namespace and dimensions. Each way to deploy knows the dimensions' values.
ROUTER = "router"  # EMF, by Function as FunctionName gives it; only with CloudWatchMetricsEnabled
LAMBDA = "lambda"  # AWS/Lambda, by FunctionName
BALANCER = "balancer"  # AWS/ApplicationELB, by LoadBalancer and TargetGroup


class Alarm(NamedTuple):
    metrics: dict[str, tuple[str, str]]  # id in the expression -> metric and statistic
    expression: str = ""  # metric math; empty: the only metric. No figure where it divides by zero
    source: str = ROUTER
    period: int = 60  # s
    periods: int = 2  # how many of them
    of_these: int = 0  # how many of the periods must exceed the threshold; 0: all
    below: bool = False  # it is too little that alarms
    says: str = ""  # its description, where the alert's summary has labels that CloudWatch does not know


class Alert(NamedTuple):
    name: str
    threshold: float
    expression: str  # PromQL; THRESHOLD stands for it
    wait: str  # how long it must hold
    severity: str
    summary: str
    fires: dict[str, str]  # series and values of promtool, one a minute, with which it fires
    silent: dict[str, str]  # and with which it does not
    cloudwatch: Alarm | str  # or why there is none
    looked_at: str = "30m"  # when that is

    @property
    def query(self) -> str:
        return self.expression.replace("THRESHOLD", f"{self.threshold:g}")

    @property
    def short(self) -> str:
        return self.name.removeprefix("LambdaDispatch")


class AwsAlert(NamedTuple):
    """What only AWS sees."""

    short: str
    threshold: float
    severity: str
    summary: str
    cloudwatch: Alarm


def m(name: str, labels: str = "") -> str:
    return f"{PREFIX}{name}{{{labels}}}" if labels else PREFIX + name


def _lag(late: str) -> dict[str, str]:
    """Of 1,000 ticks a minute, how many took up to 2^-5 s; the others took up to 2^-3 s."""
    bucket = "event_loop_lag_seconds_bucket"
    return {
        m(bucket, 'worker="0",le="0.03125"'): late,
        m(bucket, 'worker="0",le="0.125"'): "0+1000x40",
        m(bucket, 'worker="0",le="+Inf"'): "0+1000x40",
    }


def _requests(failed: str, ok: str, reason: str) -> dict[str, str]:
    return {
        m("requests_total", F + f',code="5xx",reason="{reason}"'): failed,
        m("requests_total", F + ',code="2xx",reason="ok"'): ok,
    }


def _cold_starts(short: str, middle: str) -> dict[str, str]:
    """Of 10 starts a minute, how many took up to 4 s and up to 8 s; none took more than 16 s."""
    bucket = "cold_start_seconds_bucket"
    return {
        m(bucket, F + ',le="4.0"'): short,
        m(bucket, F + ',le="8.0"'): middle,
        m(bucket, F + ',le="16.0"'): "0+10x40",
        m(bucket, F + ',le="+Inf"'): "0+10x40",
    }


def _workers(starts: str) -> dict[str, str]:
    """Of a router with two of them."""
    return {
        m("worker_starts_total"): starts,
        m("workers", 'state="ready"'): "2x40",
        m("workers", 'state="gone"'): "0x40",
    }


F = 'function="web"'
_OPEN = m("instances", F + ',state="open"')
ALERTS = (
    Alert(
        "LambdaDispatchQueueOld",
        2,
        f"max by (job, function) ({m('queue_oldest_seconds')}) > THRESHOLD",
        "1m",
        "critical",
        "Requests of {{ $labels.function }} wait for more than 2 s",
        {m("queue_oldest_seconds", F): "3x40"},
        {m("queue_oldest_seconds", F): "1x40"},
        Alarm({"oldest": ("QueueOldest", "Maximum")}),
    ),
    Alert(
        "LambdaDispatchRejects",
        0.01,
        f"sum by (job, function) (rate({m('requests_rejected_total')}[5m]))"
        f" / sum by (job, function) (rate({m('requests_total')}[5m])) > THRESHOLD",
        "2m",
        "critical",
        "The router refuses more than 1 % of the requests of {{ $labels.function }}",
        {
            m("requests_rejected_total", F + ',reason="queue_full"'): "0+3x40",
            **_requests("0+3x40", "0+97x40", "router"),
        },
        {
            m("requests_rejected_total", F + ',reason="queue_full"'): "0+1x40",
            **_requests("0+1x40", "0+999x40", "router"),
        },
        Alarm(
            {"rejected": ("RequestsRejected", "Sum"), "ended": ("RequestsEnded", "Sum")},
            "rejected / ended",
            period=300,
            periods=1,
        ),
    ),
    Alert(
        "LambdaDispatchAtMax",
        0,
        f"{m('instances_desired_raw')} - {m('instances_max')} > THRESHOLD",
        "5m",
        "warning",
        "{{ $labels.function }} needs more instances than MaxInstances allows",
        {m("instances_desired_raw", F): "11x40", m("instances_max", F): "10x40"},
        {m("instances_desired_raw", F): "10x40", m("instances_max", F): "10x40"},
        Alarm(
            {"wanted": ("InstancesDesiredRaw", "Maximum"), "allowed": ("InstancesMax", "Maximum")},
            "wanted - allowed",
            periods=5,
        ),
    ),
    Alert(
        "LambdaDispatchBudgetSpent",
        0,
        f"{m('budget_spent')} > THRESHOLD",
        "0m",
        "critical",
        "MaxCostPerHour or MaxInvokesPerMinute of {{ $labels.function }} is spent: only the floor of instances goes on",
        {m("budget_spent", F): "1x40"},
        {m("budget_spent", F): "0x40"},
        Alarm({"spent": ("BudgetSpent", "Maximum")}, periods=1),
    ),
    Alert(
        "LambdaDispatchBudgetBurn",
        1,
        f"rate({m('cost_usd_total')}[10m]) * 3600 / ({m('max_cost_per_hour_usd')} > 0) > THRESHOLD",
        "5m",
        "warning",
        "{{ $labels.function }} costs more than MaxCostPerHour allows; once that is spent, only the floor goes on",
        {m("cost_usd_total", F): "0+0.2x40", m("max_cost_per_hour_usd", F): "10x40"},
        {m("cost_usd_total", F): "0+0.1x40", m("max_cost_per_hour_usd", F): "10x40"},
        "the router writes no cost to CloudWatch; a budget of AWS Budgets watches what AWS bills",
    ),
    Alert(
        "LambdaDispatchNotReachingDesired",
        0.8,
        f"sum by (job, function) ({m('instances', 'state=~`open`')}) / sum by (job, function) "
        f"({m('instances_desired')}) < THRESHOLD".replace("`", '"'),
        "5m",
        "warning",
        "{{ $labels.function }} has fewer open instances than it wants",
        {_OPEN: "7x40", m("instances_desired", F): "10x40"},
        {_OPEN: "9x40", m("instances_desired", F): "10x40"},
        Alarm(
            {"open": ("InstancesOpen", "Sum"), "desired": ("InstancesDesired", "Sum")},
            "open / desired",
            periods=5,
            below=True,
        ),
    ),
    Alert(
        "LambdaDispatchThrottled",
        0,
        f"rate({m('invokes_throttled_total')}[5m]) > THRESHOLD",
        "5m",
        "warning",
        "Lambda throttles invokes of {{ $labels.function }}: raise the account's or the function's concurrency",
        {m("invokes_throttled_total", F): "0+1x40"},
        {m("invokes_throttled_total", F): "5x40"},
        Alarm({"throttles": ("Throttles", "Sum")}, source=LAMBDA, periods=3),
    ),
    Alert(
        "LambdaDispatchBreakerOpen",
        0,
        # A trial makes an open breaker half-open, and its failure opens it again, within a minute: both are one outage.
        f"max by (job, instance, function) ({m('breaker_state', 'state!=`closed`')}) > THRESHOLD".replace("`", '"'),
        "1m",
        "critical",
        "Starts of {{ $labels.function }} failed repeatedly: only single trials are started",
        {
            m("breaker_state", F + ',state="open"'): " ".join(["1 0"] * 20),
            m("breaker_state", F + ',state="half-open"'): " ".join(["0 1"] * 20),
            m("breaker_state", F + ',state="closed"'): "0x40",
        },
        {
            m("breaker_state", F + ',state="open"'): "0x40",
            m("breaker_state", F + ',state="half-open"'): "0x40",
            m("breaker_state", F + ',state="closed"'): "1x40",
        },
        Alarm({"breaker": ("BreakerOpen", "Maximum")}),
    ),
    Alert(
        "LambdaDispatchStartsFail",
        0.2,
        f"rate({m('instance_starts_failed_total')}[10m]) / rate({m('instance_starts_total')}[10m]) > THRESHOLD",
        "5m",
        "warning",
        "More than 20 % of the starts of {{ $labels.function }} fail",
        {m("instance_starts_failed_total", F): "0+3x40", m("instance_starts_total", F): "0+10x40"},
        {m("instance_starts_failed_total", F): "0+1x40", m("instance_starts_total", F): "0+10x40"},
        Alarm(
            {"failed": ("StartsFailed", "Sum"), "starts": ("Starts", "Sum")},
            "failed / starts",
            period=300,
        ),
    ),
    Alert(
        "LambdaDispatchColdStartSlow",
        7,
        f"histogram_quantile(0.9, sum by (job, function, le) (rate({m('cold_start_seconds_bucket')}[15m])))"
        " > THRESHOLD",
        "10m",
        "warning",
        "One cold start of {{ $labels.function }} in ten takes more than 7 s; at 10 s Lambda gives up",
        _cold_starts("0x40", "0+1x40"),
        _cold_starts("0+10x40", "0+10x40"),
        Alarm(
            {"slow": ("ColdStartP90", "Average")},
            "slow / 1000",
            period=300,
            periods=3,
        ),
    ),
    Alert(
        "LambdaDispatchWorkerSilent",
        1,
        f"max by (job, worker) ({m('worker_silent_seconds')}) > THRESHOLD",
        "1m",
        "warning",
        "The event loop of worker {{ $labels.worker }} stands still for more than 1 s",
        {m("worker_silent_seconds", 'worker="0"'): "2x40"},
        {m("worker_silent_seconds", 'worker="0"'): "0.1x40"},
        "the supervisor replaces a worker that stands still for HangTimeout, and health checks go to it, too",
    ),
    Alert(
        "LambdaDispatchLoopLag",
        0.05,
        f"histogram_quantile(0.99, sum by (job, worker, le) (rate({m('event_loop_lag_seconds_bucket')}[5m])))"
        " > THRESHOLD",
        "5m",
        "warning",
        "The event loop of worker {{ $labels.worker }} comes round more than 50 ms late, once in a hundred times",
        _lag(late="0+10x40"),
        _lag(late="0+1000x40"),
        "the CPU of the task says the same, and the service scales on it",
    ),
    Alert(
        "LambdaDispatchReloadFailed",
        0,
        f"1 - {m('config_last_reload_successful')} > THRESHOLD",
        "5m",
        "warning",
        "The last reload of {{ $labels.instance }} was refused: an earlier configuration is in use; the log says why",
        {m("config_last_reload_successful"): "0x40"},
        {m("config_last_reload_successful"): "1x10 0x2 1x40"},
        "a task on ECS is replaced for a new configuration, not reloaded",
    ),
    Alert(
        "LambdaDispatchOverrideForgotten",
        0,
        f"max by (job, function, kind) ({m('override_active')}) > THRESHOLD",
        "12h",
        "info",
        "An override ({{ $labels.kind }}) is in force for more than 12 h; end it, or write it into the configuration",
        {m("override_active", F + ',kind="limits"'): "1x800"},
        {m("override_active", F + ',kind="limits"'): "1x600 0 1x300"},
        Alarm(
            {"overrides": ("Overrides", "Maximum")},
            period=3600,
            periods=12,
            says="An override is in force for more than 12 h; end it, or write it into the configuration",
        ),
        "13h",
    ),
    Alert(
        "LambdaDispatchWorkerRestarts",
        3,
        f"sum by (job, instance) (increase({m('worker_starts_total')}[15m]))"
        f" - sum by (job, instance) ({m('workers')}) > THRESHOLD",
        "0m",
        "warning",
        "Workers of {{ $labels.instance }} die: more starts in 15 minutes than a rolling restart makes",
        _workers(starts="2+1x40"),
        _workers(starts="2x20 6x20"),
        "the event worker restarted in the log tells which; a metric filter on it is one line",
    ),
    Alert(
        "LambdaDispatchErrorBudgetBurn",
        0.0144,
        "lambda_dispatch:errors:ratio_rate5m > THRESHOLD and lambda_dispatch:errors:ratio_rate1h > THRESHOLD",
        "2m",
        "critical",
        "{{ $labels.function }} spends a month's budget of 0.1 % errors in two days",
        _requests("0+2x80", "0+98x80", "app"),
        _requests("0+1x80", "0+999x80", "app"),
        Alarm(
            {"failed": ("RequestsFailed", "Sum"), "ended": ("RequestsEnded", "Sum")},
            "failed / ended",
            period=300,
        ),
    ),
    Alert(
        "LambdaDispatchErrorBudgetSlowBurn",
        0.006,
        "lambda_dispatch:errors:ratio_rate30m > THRESHOLD and lambda_dispatch:errors:ratio_rate6h > THRESHOLD",
        "15m",
        "warning",
        "{{ $labels.function }} spends a month's budget of 0.1 % errors in five days",
        _requests("0+1x480", "0+99x480", "router"),
        _requests("0x400 0+1x30", "0+99x480", "router"),  # one bad half hour
        "an alarm has one window, and six hours of it are too late; the fast burn has an alarm",
        "7h",
    ),
    Alert(
        "LambdaDispatchRouterDown",
        0,
        '1 - up{job=~".*lambda-dispatch.*"} > THRESHOLD',
        "2m",
        "critical",
        "{{ $labels.instance }} cannot be scraped",
        {'up{job="lambda-dispatch"}': "0x40"},
        {'up{job="lambda-dispatch"}': "1x40"},
        Alarm(
            {"unhealthy": ("UnHealthyHostCount", "Maximum")},
            source=BALANCER,
            periods=5,
            says="A router does not answer its health check",
        ),
    ),
)
AWS_ALERTS = (
    AwsAlert(
        "ServerErrors",
        10,
        "critical",
        "Requests fail with 5xx from the router or the application; look at fault in the access log",
        Alarm({"errors": ("HTTPCode_Target_5XX_Count", "Sum")}, source=BALANCER, periods=3, of_these=2),
    ),
    AwsAlert(
        "FunctionErrors",
        0,
        "warning",
        "Environments fail: the application does not start, or crashes",
        Alarm({"errors": ("Errors", "Sum")}, source=LAMBDA, periods=3),
    ),
)
# A deployment during which this alarm is raised is rolled back.
ROLLBACK = "ServerErrors"
_ERRORS = m("requests_total", 'reason=~"app|router"')
_FAST = f"sum by (job, function) (rate({m('queue_wait_seconds_bucket', 'le=~`0.0625`')}[5m]))".replace("`", '"')
RULES = {
    **{
        f"lambda_dispatch:errors:ratio_rate{window}": f"sum by (job, function) (rate({_ERRORS}[{window}]))"
        f" / sum by (job, function) (rate({m('requests_total')}[{window}]))"
        for window in ("5m", "30m", "1h", "6h")
    },
    "lambda_dispatch:served_without_wait:ratio_rate5m": f"{_FAST} / sum by (job, function) "
    f"(rate({m('queue_wait_seconds_count')}[5m]))",
    "lambda_dispatch:retries:ratio_rate5m": f"sum by (job, function) (rate({m('requests_retried_total')}[5m]))"
    f" / sum by (job, function) (rate({m('requests_total')}[5m]))",
}


def alarms() -> list[tuple[Alert | AwsAlert, Alarm]]:
    """What has an alarm in CloudWatch, with it."""
    every: tuple[Alert | AwsAlert, ...] = (*ALERTS, *AWS_ALERTS)
    return [(each, each.cloudwatch) for each in every if isinstance(each.cloudwatch, Alarm)]


def description(alert: Alert | AwsAlert, alarm: Alarm) -> str:
    said = alarm.says or alert.summary.replace("{{ $labels.function }}", "the function")
    return f"{alert.severity}: {said[:1].upper()}{said[1:]}"
