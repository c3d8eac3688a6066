import dataclasses
import json
from pathlib import Path

import pytest

from lambda_dispatch import config
from lambda_dispatch.config import OPTIONS, RouterConfig, effective, load
from lambda_dispatch.errors import ConfigError
from lambda_dispatch.supervisor import self_signed

BASE = {"LAMBDA_DISPATCH_FunctionName": "app", "LAMBDA_DISPATCH_AllowInsecureControlChannel": "true"}


def with_env(**values: str) -> RouterConfig:
    return load(BASE | {"LAMBDA_DISPATCH_" + name: value for name, value in values.items()})


def problems(environ: dict[str, str], *argv: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(BASE | environ, argv)
    return caught.value.problems


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "certs").mkdir()
    made = self_signed.make()
    (tmp_path / config.DEFAULT_CERT).write_bytes(made.certificate)
    (tmp_path / config.DEFAULT_KEY).write_bytes(made.key)
    return tmp_path


def test_the_defaults_are_the_originals() -> None:
    loaded = load(BASE)
    assert (loaded.max_concurrent_count, loaded.channel_count, loaded.instance_count_multiplier) == (10, 20, 2)
    assert (loaded.http_port, loaded.https_port) == (5001, 5002)
    assert (loaded.control_http_port, loaded.control_https_port) == (5003, 5004)
    assert loaded.incoming_request_timeout == 120.0
    assert loaded.env_var_for_callback_ip == "K8S_POD_IP"
    assert loaded.cloudwatch_metrics_enabled is False
    assert loaded.ready_fd == -1


def test_adaptive_is_the_default_and_a_multiplier_that_it_ignores_is_a_warning() -> None:
    assert load(BASE).scaling_algorithm == "adaptive" and load(BASE).warnings == ()
    (warning,) = with_env(InstanceCountMultiplier="3").warnings
    assert warning.startswith("LAMBDA_DISPATCH_InstanceCountMultiplier has no effect with ScalingAlgorithm=adaptive; ")
    assert with_env(InstanceCountMultiplier="3", ScalingAlgorithm="simple").warnings == ()


@pytest.mark.parametrize(
    "spelling",
    ["MaxConcurrentCount", "maxconcurrentcount", "MAXCONCURRENTCOUNT", "MAX_CONCURRENT_COUNT", "max_Concurrent_count"],
)
def test_a_name_is_known_in_any_case_and_with_underscores(spelling: str) -> None:
    assert with_env(**{spelling: "7"}).max_concurrent_count == 7


def test_two_spellings_that_differ_are_an_error() -> None:
    assert problems({"LAMBDA_DISPATCH_MaxQueue": "1", "LAMBDA_DISPATCH_MAX_QUEUE": "2"}) == [
        "LAMBDA_DISPATCH_MAX_QUEUE and LAMBDA_DISPATCH_MaxQueue differ and mean the same; remove one"
    ]


def test_an_empty_variable_is_not_set() -> None:
    assert with_env(MaxConcurrentCount=" ").sources.get("max_concurrent_count") is None


def test_a_flag_wins_over_the_environment_over_the_default() -> None:
    environ = BASE | {"LAMBDA_DISPATCH_MaxConcurrentCount": "3", "LAMBDA_DISPATCH_MaxQueue": "9"}
    loaded = load(environ, ["--max-concurrent-count", "4"])
    assert (loaded.max_concurrent_count, loaded.max_queue, loaded.max_head_fields) == (4, 9, 200)
    assert loaded.sources["max_concurrent_count"] == "--max-concurrent-count"
    assert loaded.sources["max_queue"] == "LAMBDA_DISPATCH_MaxQueue"
    assert "max_head_fields" not in loaded.sources


@pytest.mark.parametrize(
    ("argv", "attribute", "value"),
    [
        (["--http-port=8080"], "http_port", 8080),
        (["--incoming-request-http-port", "8080"], "http_port", 8080),
        (["--control-channel-insecure-http2-port", "8080"], "control_http_port", 8080),
        (["--allow-debug-header"], "allow_debug_header", True),
        (["--allow-debug-header=false"], "allow_debug_header", False),
        (["--no-allow-insecure-control-channel", "--allow-insecure-control"], "allow_insecure_control", True),
        (["--allow-debug-header", "true", "--max-queue", "3"], "max_queue", 3),
        (["--lame-duck", "0"], "lame_duck", 0.0),
        (["--max-head-bytes", "32KiB"], "max_head_bytes", 32768),
        (["--ready-fd", "5"], "ready_fd", 5),
        (["--http-port", "0"], "http_port", 0),
    ],
)
def test_flags_say_what_the_environment_can(argv: list[str], attribute: str, value: object) -> None:
    assert getattr(load(BASE, argv), attribute) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MaxConcurrentCount", "0"),
        ("MaxConcurrentCount", "101"),
        ("MaxConcurrentCount", "1_0"),
        ("MaxConcurrentCount", "ten"),
        ("ChannelCount", "9"),
        ("ChannelCount", "101"),
        ("ChannelCount", "-2"),
        ("IncomingRequestHTTPPort", "0"),
        ("IncomingRequestHTTPSPort", "65536"),
        ("ControlChannelInsecureHTTP2Port", "-1"),
        ("ControlChannelHTTP2Port", "x"),
        ("AllowInsecureControlChannel", "maybe"),
        ("CloudWatchMetricsEnabled", "2"),
        ("PreferredControlChannelScheme", "ftp"),
        ("InstanceCountMultiplier", "0"),
        ("InstanceCountMultiplier", "11"),
        ("EnvVarForCallbackIp", "1POD-IP"),
        ("ScalingAlgorithm", "magic"),
        ("IncomingRequestTimeout", "soon"),
        ("IncomingRequestTimeout", "00:99:00"),
        ("FunctionName", "two words"),
    ],
)
def test_a_wrong_value_names_the_variable_and_the_value(name: str, value: str) -> None:
    (problem,) = problems({"LAMBDA_DISPATCH_" + name: value})
    assert problem.startswith(f"LAMBDA_DISPATCH_{name} is '{value}'") or f"is {value};" in problem
    assert "must be" in problem


def test_every_problem_is_reported_at_once() -> None:
    assert len(problems({"LAMBDA_DISPATCH_MaxQueue": "x", "LAMBDA_DISPATCH_LogLevel": "x"}, "--nonsense")) == 3


def test_a_wrong_secret_is_not_shown() -> None:
    (problem,) = problems({"LAMBDA_DISPATCH_FunctionSecret": "hush"})
    assert "hush" not in problem


def test_a_missing_function_name_is_said_with_its_misspelling() -> None:
    with pytest.raises(ConfigError) as caught:
        load({"LAMBDA_DISPATCH_FunktionName": "app", "LAMBDA_DISPATCH_AllowInsecureControlChannel": "true"})
    assert "LAMBDA_DISPATCH_FunctionName is not set" in caught.value.problems[0]
    assert "did you mean LAMBDA_DISPATCH_FunctionName?" in caught.value.warnings[0]


def test_an_unknown_variable_is_a_warning_with_the_nearest_name() -> None:
    assert with_env(MaxConcurentCount="3").warnings == (
        "LAMBDA_DISPATCH_MaxConcurentCount is not known and has no effect; "
        "did you mean LAMBDA_DISPATCH_MaxConcurrentCount?",
    )


def test_the_extensions_variables_are_nobodys_mistake() -> None:
    assert with_env(PORT="3001", ASYNC_INIT="true", EnableCompression="false").warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"), [("00:00:30", 30), ("01:02:03", 3723), ("90", 90), ("2.5", 2.5), ("0:1:0.5", 60.5)]
)
def test_a_duration_is_clock_time_or_seconds(text: str, expected: float) -> None:
    assert with_env(IncomingRequestTimeout=text).incoming_request_timeout == expected


def test_channels_default_to_twice_the_requests_but_never_over_100() -> None:
    assert with_env(MaxConcurrentCount="5").channel_count == 10
    assert with_env(MaxConcurrentCount="60").channel_count == 100
    assert with_env(MaxConcurrentCount="5", ChannelCount="-1").channel_count == 10
    assert with_env(MaxConcurrentCount="5", ChannelCount="5").channel_count == 5


def test_name_and_qualifier_are_split() -> None:
    loaded = with_env(FunctionName="app:live")
    assert (loaded.function_name, loaded.function_qualifier, str(loaded.function)) == ("app", "live", "app:live")
    assert load(BASE).function_qualifier is None


def test_worker_count_is_capped_but_can_be_said_exactly() -> None:
    assert with_env(MaxWorkerThreads="1").workers == 1
    assert load(BASE).workers >= 1
    assert with_env(MaxWorkerThreads="1", Workers="4").workers == 4


def test_without_a_certificate_there_is_no_tls_and_instances_call_back_over_http() -> None:
    loaded = load(BASE)
    assert not loaded.tls
    assert loaded.preferred_control_scheme == "http"


def test_with_a_certificate_instances_call_back_over_https(certificate: Path) -> None:
    loaded = load({"LAMBDA_DISPATCH_FunctionName": "app"})
    assert loaded.tls
    assert (loaded.cert_file, loaded.preferred_control_scheme) == (config.DEFAULT_CERT, "https")


def test_without_a_certificate_the_router_makes_one_for_instances_alone() -> None:
    loaded = load({"LAMBDA_DISPATCH_FunctionName": "app"})
    assert (loaded.self_signed, loaded.tls, loaded.control_tls) == (True, False, True)
    assert loaded.preferred_control_scheme == "https"
    assert not load(BASE).self_signed


def test_a_certificate_that_cannot_be_used_is_refused_at_start(certificate: Path) -> None:
    (certificate / config.DEFAULT_KEY).write_bytes(self_signed.make().key)
    (problem,) = problems({})
    assert problem.startswith(f"CertFile {config.DEFAULT_CERT} and KeyFile {config.DEFAULT_KEY} cannot be used")
    (problem,) = problems({"LAMBDA_DISPATCH_CertFile": str(certificate)})
    assert "which is a directory" in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAMBDA_DISPATCH_RouterCallbackHost", "http://router"),
        ("LAMBDA_DISPATCH_RouterCallbackHost", "router:5003"),
        ("LAMBDA_DISPATCH_RouterCallbackHost", "a b"),
        ("GIT_HASH", "a\r\nSet-Cookie: b"),
        ("BUILD_TIME", "caf\xe9"),
    ],
)
def test_what_would_break_a_url_or_a_field_is_refused(name: str, value: str) -> None:
    (problem,) = problems({name: value})
    assert problem.startswith(f"{name} is {value!r}; it must be")


@pytest.mark.parametrize("host", ["router.example", "10.0.0.1", "::1", "[fe80::1]", "my_service"])
def test_hosts_to_call_back_to(host: str) -> None:
    assert with_env(RouterCallbackHost=host).callback_host == host


def test_ports_that_are_open_must_differ() -> None:
    (problem,) = problems({"LAMBDA_DISPATCH_IncomingRequestHTTPPort": "5003"})
    assert problem == (
        "LAMBDA_DISPATCH_IncomingRequestHTTPPort and LAMBDA_DISPATCH_ControlChannelInsecureHTTP2Port are both 5003; "
        "each port needs a number of its own"
    )
    assert with_env(IncomingRequestHTTPPort="5002").http_port == 5002, "that port is not open without a certificate"


def test_http_may_not_be_preferred_where_it_is_not_allowed(certificate: Path) -> None:
    (problem,) = problems(
        {
            "LAMBDA_DISPATCH_AllowInsecureControlChannel": "false",
            "LAMBDA_DISPATCH_PreferredControlChannelScheme": "http",
        }
    )
    assert "PreferredControlChannelScheme is 'http' while AllowInsecureControlChannel is false" in problem


def test_a_named_certificate_must_exist() -> None:
    (problem,) = problems({"LAMBDA_DISPATCH_CertFile": "/nowhere.pem"})
    assert problem.startswith("LAMBDA_DISPATCH_CertFile is '/nowhere.pem', which cannot be read")


def test_versions_come_from_their_own_variables() -> None:
    loaded = load(BASE | {"GIT_HASH": "abc", "BUILD_TIME": "now"})
    assert (loaded.git_hash, loaded.build_time) == ("abc", "now")


def test_json_carries_everything() -> None:
    loaded = load(BASE | {"LAMBDA_DISPATCH_FunctionSecret": "very-secret"}, ["--lame-duck", "1.5"])
    again = RouterConfig.from_json(loaded.to_json())
    assert again == loaded
    assert (again.sources, again.warnings) == (loaded.sources, loaded.warnings)
    json.loads(loaded.to_json())


def test_the_description_masks_secrets_and_names_sources() -> None:
    loaded = load(BASE | {"LAMBDA_DISPATCH_FunctionSecret": "very-secret"}, ["--lame-duck", "1.5"])
    shown = effective.table(loaded)
    assert "very-secret" not in shown
    rows = {row.split()[1]: row for row in shown.splitlines() if row.startswith("LAMBDA")}
    assert rows["--lame-duck"].endswith("--lame-duck")
    assert rows["--function-secret"].split()[2:] == ["***", "LAMBDA_DISPATCH_FunctionSecret"]
    assert rows["--max-queue"].endswith("default")


def test_the_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(BASE).max_queue = 3  # type: ignore[misc]


def test_no_two_options_share_a_flag_or_a_name() -> None:
    assert len({config.key_of(option.name) for option in OPTIONS.values()}) == len(OPTIONS)
    flags = [config.flag_of(attribute) for attribute in OPTIONS]
    assert len(set(flags)) == len(flags)


def test_the_documentation_has_every_option_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    for attribute, option in OPTIONS.items():
        default = effective.show(config.default_of(attribute))
        shown = "none" if default == "-" else f"`{default}`"
        row = f"| `{option.name}` | `{config.flag_of(attribute)}` | {shown} | {option.kind.allowed} | {option.help} |"
        assert row in page, f"docs/configuration.md should have: {row}"
