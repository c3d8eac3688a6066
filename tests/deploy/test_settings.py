"""Every way to deploy passes on exactly the options that config.py knows, with the values that were asked for."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools import chart_values, gen_deploy

from lambda_dispatch.config import OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KNOWN = {option.variable for option in OPTIONS.values() if option.name not in gen_deploy.LEFT_OUT}
FUNCTION = "LAMBDA_DISPATCH_FunctionName"


def need(tool: str) -> str:
    found = shutil.which(tool)
    if found is None:
        pytest.skip(f"no {tool} here")
    return found


class Tags(yaml.SafeLoader):
    """CloudFormation's short forms as {"Ref": ...} and {"Fn::If": [...]}."""


def _tag(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Tags.add_multi_constructor("!", _tag)


def example(setting: gen_deploy.Setting) -> str:
    """A value that differs from the default."""
    return {"boolean": "true", "integer": "7", "number": "1.5"}.get(setting.kind, f"a {setting.name}")


def test_the_generated_parts_are_current() -> None:
    stale = [str(path.relative_to(ROOT)) for path in gen_deploy.stale()]
    assert stale == [], "run: python tools/gen_deploy.py"


def test_what_is_left_out_exists_and_has_a_reason() -> None:
    names = {option.name for option in OPTIONS.values()}
    for table in (gen_deploy.LEFT_OUT, gen_deploy.OWN):
        assert set(table) <= names
        assert all(table.values())
    assert set(gen_deploy.PLATFORM) | set(gen_deploy.AWS) <= names


def test_a_platforms_defaults_are_values_that_the_router_takes() -> None:
    for name, (value, _) in [*gen_deploy.PLATFORM.items(), *gen_deploy.AWS.items()]:
        option = next(option for option in OPTIONS.values() if option.name == name)
        option.kind.parse(value)


def test_the_template_passes_every_option() -> None:
    template = yaml.load((DEPLOY / "cloudformation/router.yaml").read_text(), Tags)
    container = template["Resources"]["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]
    values = {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    secret = {entry["Fn::If"][1]["Name"]: entry["Fn::If"][1]["ValueFrom"] for entry in container["Secrets"]}
    assert values.keys() | secret.keys() == KNOWN
    for setting in gen_deploy.plain():
        assert values[setting.variable] == {"Ref": setting.name}
        assert template["Parameters"][setting.name]["Default"] == setting.aws
    for setting in gen_deploy.secrets():
        assert secret[setting.variable] == {"Ref": f"{setting.name}SecretArn"}


def test_a_template_needs_no_bucket() -> None:
    """Of a larger one `aws cloudformation deploy` refuses the file; and 200 parameters are the most."""
    for path in (DEPLOY / "cloudformation").glob("*.yaml"):
        assert path.stat().st_size <= 51_200, path
        assert len(yaml.load(path.read_text(), Tags).get("Parameters", {})) <= 200, path


def chart(*arguments: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [need("helm"), "template", "r", str(DEPLOY / "helm/lambda-dispatch"), "--kube-version", "1.34.0", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def test_the_chart_passes_every_option(tmp_path: Path) -> None:
    values = {
        "function": "app",
        "settings": {setting.name: example(setting) for setting in gen_deploy.plain()},
        "secrets": {setting.name: {"name": "s", "key": setting.name} for setting in gen_deploy.secrets()},
    }
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    deployment = next(document for document in chart("-f", str(file)) if document["kind"] == "Deployment")
    entries = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    found = {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in entries}
    assert found.keys() - {"K8S_POD_IP"} == KNOWN
    for setting in gen_deploy.plain():
        assert found[setting.variable] == example(setting)
    for setting in gen_deploy.secrets():
        assert found[setting.variable] == {"secretKeyRef": {"name": "s", "key": setting.name}}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"settings": {"MinInstance": 1}}, "MinInstance"),
        ({"settings": {"MinInstances": []}}, "MinInstances"),
        ({"keda": {"enabled": True}, "autoscaling": {"enabled": True}}, "not"),
        ({"function": ""}, "function"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_the_chart_refuses_what_it_does_not_know(tmp_path: Path, value: dict[str, Any], said: str) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"function": "app"} | value))
    done = subprocess.run(
        [need("helm"), "template", "r", str(DEPLOY / "helm/lambda-dispatch"), "-f", str(file)],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "schema" in done.stderr
    assert said in done.stderr


def test_whole_numbers_reach_the_router_without_an_exponent(tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text("function: app\nsettings: {MaxQueue: 1000000, MinUploadRate: 12500000, StartRate: 0.5}\n")
    deployment = next(document for document in chart("-f", str(file)) if document["kind"] == "Deployment")
    entries = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    found = {entry["name"]: entry.get("value") for entry in entries}
    assert found["LAMBDA_DISPATCH_MaxQueue"] == "1000000"
    assert found["LAMBDA_DISPATCH_MinUploadRate"] == "12500000"
    assert found["LAMBDA_DISPATCH_StartRate"] == "0.5"


def test_the_module_passes_every_option(tmp_path: Path) -> None:
    """settings.tf is complete in itself: no provider is needed to see what it makes of the variables."""
    terraform = need("terraform")
    shutil.copy(DEPLOY / "terraform/settings.tf", tmp_path)
    (tmp_path / "out.tf").write_text(
        'output "all" {\n  value = merge(local.settings_environment, local.secrets_environment)\n}\n'
    )
    kinds = {"boolean": True, "integer": 7, "number": 1.5}
    variables = {
        "settings": {setting.snake: kinds.get(setting.kind, example(setting)) for setting in gen_deploy.plain()},
        "secret_arns": {setting.snake: f"arn:{setting.name}" for setting in gen_deploy.secrets()},
    }
    (tmp_path / "all.auto.tfvars.json").write_text(json.dumps(variables))
    environ = {**os.environ, "TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}

    def run(*arguments: str) -> str:
        done = subprocess.run([terraform, *arguments], cwd=tmp_path, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("init", "-backend=false")
    run("apply", "-auto-approve")
    found = json.loads(run("output", "-json", "all"))
    assert found.keys() | {FUNCTION} == KNOWN
    for setting in gen_deploy.plain():
        assert found[setting.variable] == example(setting)
    (tmp_path / "all.auto.tfvars.json").unlink()
    run("apply", "-auto-approve")
    found = json.loads(run("output", "-json", "all"))
    assert found == {setting.variable: setting.aws for setting in gen_deploy.plain() if setting.aws}


def test_the_construct_passes_every_option() -> None:
    text = (DEPLOY / "cdk/src/settings.ts").read_text()
    found = {line.split("'")[1] for line in text.splitlines() if "'LAMBDA_DISPATCH_" in line}
    assert found | {FUNCTION} == KNOWN
    for setting in gen_deploy.settings():
        assert f"  readonly {setting.camel}?: " in text
        assert f"  {setting.camel}: '{setting.variable}'," in text


def test_the_charts_readme_has_a_row_for_each_value() -> None:
    values = yaml.safe_load((DEPLOY / "helm/lambda-dispatch/values.yaml").read_text())
    rows = re.findall(r"^\| `([\w.]+)` \|", (DEPLOY / "helm/lambda-dispatch/README.md").read_text(), re.M)
    assert len(rows) == len(set(rows))
    for row in rows:
        found = values
        for name in row.split("."):
            found = found[name]
    assert {row.split(".")[0] for row in rows} == set(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("# Said.\nknown: 1\nsilent: 2\n", "silent has no comment"),
        ("# Said.\nknown: 1\n# Said.\nstranger: 2\n", "does not have stranger"),
    ],
)
def test_a_value_that_is_not_described_is_refused(values: str, said: str) -> None:
    schema = {"properties": {"known": {"type": "integer"}, "silent": {"type": "integer"}}}
    assert "| `known` | integer | `1` | Said. |" in chart_values.table("# Said.\nknown: 1\n", schema)
    with pytest.raises(SystemExit, match=said):
        chart_values.table(values, schema)


READY = "/health?ready"  # 503 until the first instance is open where MinInstances is set
READY_WITHIN = 180  # s


def test_every_way_to_deploy_sends_clients_once_the_router_is_ready() -> None:
    resources = yaml.load((DEPLOY / "cloudformation/router.yaml").read_text(), Tags)["Resources"]
    check = resources["TaskDefinition"]["Properties"]["ContainerDefinitions"][0]["HealthCheck"]
    url = {"Fn::Sub": f"http://127.0.0.1:${{IncomingRequestHTTPPort}}{READY}"}
    assert check["Command"] == ["CMD", "lambda-dispatch", "healthcheck", url]
    assert check["StartPeriod"] == READY_WITHIN
    assert resources["TargetGroup"]["Properties"]["HealthCheckPath"] == READY
    assert READY_WITHIN in resources["Service"]["Properties"]["HealthCheckGracePeriodSeconds"]["Fn::If"]
    module = (DEPLOY / "terraform/main.tf").read_text()
    assert re.search(rf'command += \["CMD", "lambda-dispatch", "healthcheck", "[^"]*{re.escape(READY)}"\]', module)
    assert re.search(rf"startPeriod += {READY_WITHIN}\b", module)
    assert re.search(rf'path += "{re.escape(READY)}"', module)
    assert re.search(rf"health_check_grace_period_seconds += .*\b{READY_WITHIN}\b", module)
    construct = (DEPLOY / "cdk/src/service.ts").read_text()
    assert f"const READY_WITHIN = Duration.seconds({READY_WITHIN});" in construct
    assert f"const READY_PATH = '{READY}';" in construct
    assert "healthcheck', `http://127.0.0.1:${http}${READY_PATH}`]" in construct
    assert re.findall(r"\bpath: (.*),", construct) == ["READY_PATH", "READY_PATH"]


def test_the_chart_sends_clients_once_the_router_is_ready() -> None:
    for arguments in ([], ["--set", "settings.AdminPort=-1"]):
        deployment = next(it for it in chart("--set", "function=app", *arguments) if it["kind"] == "Deployment")
        router = deployment["spec"]["template"]["spec"]["containers"][0]
        assert router["readinessProbe"]["httpGet"] == {"path": READY, "port": "http"}
        # A router that waits for its first instance is not restarted for that.
        assert router["startupProbe"]["httpGet"] == {"path": "/health", "port": "http"}


def test_no_way_to_deploy_names_a_region_an_account_or_latest() -> None:
    for path in DEPLOY.rglob("*"):
        if not path.is_file() or {"node_modules", "ci", "tests", "test", "dist", "lib", ".terraform"} & set(path.parts):
            continue
        text = path.read_text()
        assert not re.search(r"\b(us|eu|ap)-(east|west|central|north|south)\w*-\d\b|:latest\b|\b\d{12}\b", text), path
