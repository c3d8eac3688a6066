"""Writes what the ways to deploy know of the router's options, from src/lambda_dispatch/config/options.py, and their
alarms, from tools/alerts.py:

    python tools/gen_deploy.py           writes the generated parts of deploy/
    python tools/gen_deploy.py --check   says which parts are not current; exit code 1

An option that is added to that table is thereby a parameter of the CloudFormation template, a value of the chart, a
variable of the Terraform module and a property of the construct, with the same name and the same help. Files that are
generated as a whole say so at their top; in others the generated part stands between two marks.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), *(str(ROOT / folder) for folder in ("src", "cython_ext", "extension"))]

from tools import alarms, chart_values  # noqa: E402

from lambda_dispatch.config import OPTIONS, RouterConfig  # noqa: E402

# Options that no platform passes on, each with the reason.
LEFT_OUT = {
    "Config": "a file; a platform passes each option by itself",
    "AdminOpenControl": "for a developer's own machine: anybody there gives commands",
    "ReadyFd": "a descriptor that a supervisor of the same machine holds; a container has none",
    "GIT_HASH": "written into the image when it is built",
    "BUILD_TIME": "written into the image when it is built",
}
# Options that a platform sets from what it knows itself (the function, a secret); never from the table of settings.
OWN = {"FunctionName": "the function that the template, chart or construct is about"}
# Where a platform's default differs from the router's, with the reason.
PLATFORM = {
    "IncomingRequestHTTPPort": ("5001", "security groups and target groups name it too"),
    "ControlChannelHTTP2Port": ("5004", "security groups name it too"),
    "ControlChannelInsecureHTTP2Port": ("5003", "security groups name it too"),
    "AccessLog": ("json", "logs are read by machines there"),
    "LogFormat": ("json", "logs are read by machines there"),
    "DrainDeadline": ("50", "the platform kills after 60 s: the longest normal request gets this long"),
    "LameDuck": ("15", "load balancers go on sending until their checks have failed: 2 checks of 5 s, and a reserve"),
}
# The same where AWS runs the tasks.
AWS = {"CloudWatchMetricsEnabled": ("true", "alarms look at them")}


class Setting(NamedTuple):
    name: str  # as in the table, without the prefix
    variable: str  # of the environment
    help: str
    allowed: str
    default: str  # the router's, as text
    platform: str  # what we set on platforms; empty: nothing
    aws: str  # what we set where AWS runs the tasks: with CloudFormation, Terraform, CDK
    kind: str  # boolean, integer, number, string
    secret: bool

    @property
    def snake(self) -> str:
        name = re.sub(r"HTTP2", "Http2", self.name)
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

    @property
    def camel(self) -> str:
        first, *rest = self.snake.split("_")
        return first + "".join(word.capitalize() for word in rest)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def settings() -> list[Setting]:
    found = []
    for attribute, option in OPTIONS.items():
        if option.name in LEFT_OUT or option.name in OWN:
            continue
        value = RouterConfig.__dataclass_fields__[attribute].default
        allowed = option.kind.allowed
        if option.kind.boolean:
            kind = "boolean"
        elif allowed.startswith("a whole number"):
            kind = "integer"
        elif allowed.startswith("a number"):
            kind = "number"
        else:
            kind = "string"
        platform = PLATFORM.get(option.name, ("", ""))[0]
        aws = AWS.get(option.name, (platform, ""))[0]
        default = _default(value)
        found.append(
            Setting(option.name, option.variable, option.help, allowed, default, platform, aws, kind, option.secret)
        )
    return found


def plain() -> list[Setting]:
    return [setting for setting in settings() if not setting.secret]


def secrets() -> list[Setting]:
    return [setting for setting in settings() if setting.secret]


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def explained(setting: Setting) -> str:
    default = f" Default: {setting.default}." if setting.default else ""
    return f"{sentence(setting.help)}. {sentence(setting.allowed)}.{default}"


# CloudFormation ------------------------------------------------------------------------------------------------------


def cloudformation_parameters() -> str:
    lines = []
    for setting in plain():
        lines.append(parameter(setting.name, setting.aws, sentence(setting.help)))
    for setting in secrets():
        said = "ARN of its Secrets Manager secret. " + sentence(setting.help)
        lines.append(parameter(f"{setting.name}SecretArn", "", said))
    return "\n".join(lines)


def parameter(name: str, default: str, description: str) -> str:
    """In one line, without what docs/configuration.md says: a template of more than 51,200 bytes needs a bucket."""
    return f"  {name}: {{Type: String, Default: {json.dumps(default)}, Description: {json.dumps(description)}}}"


def cloudformation_conditions() -> str:
    return "\n".join(f'  Has{setting.name}: !Not [!Equals [!Ref {setting.name}SecretArn, ""]]' for setting in secrets())


def cloudformation_environment() -> str:
    lines = []
    for setting in plain():
        lines.append(f"            - {{Name: {setting.variable}, Value: !Ref {setting.name}}}")
    return "\n".join(lines)


def cloudformation_secrets() -> str:
    lines = []
    for setting in secrets():
        lines += [
            "            - !If",
            f"              - Has{setting.name}",
            f"              - Name: {setting.variable}",
            f"                ValueFrom: !Ref {setting.name}SecretArn",
            "              - !Ref AWS::NoValue",
        ]
    return "\n".join(lines)


def cloudformation_secret_policies() -> str:
    lines = []
    for setting in secrets():
        lines += [
            "              - !If",
            f"                - Has{setting.name}",
            "                - Effect: Allow",
            "                  Action: secretsmanager:GetSecretValue",
            f"                  Resource: !Ref {setting.name}SecretArn",
            "                - !Ref AWS::NoValue",
        ]
    return "\n".join(lines)


# Helm ----------------------------------------------------------------------------------------------------------------

JSON_TYPES = {"boolean": "boolean", "integer": "integer", "number": "number"}


def helm_settings() -> dict[str, Any]:
    properties = {}
    for setting in plain():
        kinds = {"boolean": ["boolean", "string"], "integer": ["integer", "string"], "number": ["number", "string"]}
        properties[setting.name] = {
            "type": kinds.get(setting.kind, ["string", "number"]),
            "description": explained(setting),
        }
    return {
        "type": "object",
        "description": "Options of the router by their names, docs/configuration.md. Left out: the default",
        "additionalProperties": False,
        "properties": properties,
    }


def helm_schema(current: str) -> str:
    schema = json.loads(current)
    schema["properties"]["settings"] = helm_settings()
    schema["properties"]["secrets"]["properties"] = {
        setting.name: {"$ref": "#/$defs/secretKey", "description": sentence(setting.help)} for setting in secrets()
    }
    return json.dumps(schema, indent=2) + "\n"


def helm_values() -> str:
    return "\n".join(
        f"  # {PLATFORM[setting.name][1]}\n  {setting.name}: {json.dumps(setting.platform)}"
        for setting in plain()
        if setting.platform
    )


# Terraform -----------------------------------------------------------------------------------------------------------

TERRAFORM_TYPES = {"boolean": "bool", "integer": "number", "number": "number"}


def terraform() -> str:
    lines = [
        "# Generated by tools/gen_deploy.py from the router's options; do not edit.",
        "",
        'variable "settings" {',
        '  description = "Options of the router; see docs/configuration.md. Left out: the default"',
        "  type = object({",
    ]
    for setting in plain():
        kind = TERRAFORM_TYPES.get(setting.kind, "string")
        default = json.dumps(setting.aws) if setting.aws and kind == "string" else setting.aws
        lines.append(f"    # {explained(setting)}")
        lines.append(f"    {setting.snake} = optional({kind}{', ' + default if default else ''})")
    lines += ["  })", "  default  = {}", "  nullable = false", "}", "", "locals {"]
    lines.append("  settings_given = {")
    width = max(len(setting.variable) for setting in plain())
    for setting in plain():
        lines.append(f"    {setting.variable.ljust(width)} = var.settings.{setting.snake}")
    lines += [
        "  }",
        "  # What is left out has no variable at all; tostring gives true, false and numbers as the router reads them.",
        "  settings_environment = {",
        "    for name, value in local.settings_given : name => tostring(value) if value != null",
        "  }",
        "}",
        "",
        'variable "secret_arns" {',
        '  description = "ARNs of Secrets Manager secrets whose values are options of the router"',
        "  type = object({",
    ]
    for setting in secrets():
        lines.append(f"    # {sentence(setting.help)}")
        lines.append(f"    {setting.snake} = optional(string)")
    lines += ["  })", "  default  = {}", "  nullable = false", "}", "", "locals {", "  secrets_given = {"]
    width = max(len(setting.variable) for setting in secrets())
    for setting in secrets():
        lines.append(f"    {setting.variable.ljust(width)} = var.secret_arns.{setting.snake}")
    lines += [
        "  }",
        "  secrets_environment = { for name, arn in local.secrets_given : name => arn if arn != null }",
        "}",
        "",
    ]
    return "\n".join(lines)


# CDK -----------------------------------------------------------------------------------------------------------------

TYPESCRIPT_TYPES = {"boolean": "boolean", "integer": "number", "number": "number"}


def cdk() -> str:
    lines = [
        "// Generated by tools/gen_deploy.py from the router's options; do not edit.",
        "import { ISecret } from 'aws-cdk-lib/aws-secretsmanager';",
        "",
        "/** Options of the router; see docs/configuration.md. */",
        "export interface RouterSettings {",
    ]
    for setting in plain():
        shown = setting.aws or setting.default
        lines += [
            "  /**",
            f"   * {sentence(setting.help)}. {sentence(setting.allowed)}.",
            "   *",
            f"   * @default - {shown or 'nothing'}",
            "   */",
            f"  readonly {setting.camel}?: {TYPESCRIPT_TYPES.get(setting.kind, 'string')};",
        ]
    lines += ["}", "", "/** Options of the router that are secrets. */", "export interface RouterSecrets {"]
    for setting in secrets():
        lines += [
            "  /**",
            f"   * {sentence(setting.help)}.",
            "   *",
            "   * @default - none",
            "   */",
            f"  readonly {setting.camel}?: ISecret;",
        ]
    lines += ["}", "", "/** @internal */", "export const SETTING_VARIABLES: { [key: string]: string } = {"]
    lines += [f"  {setting.camel}: '{setting.variable}'," for setting in plain()]
    lines += ["};", "", "/** @internal */", "export const SECRET_VARIABLES: { [key: string]: string } = {"]
    lines += [f"  {setting.camel}: '{setting.variable}'," for setting in secrets()]
    lines += ["};", "", "/** @internal */", "export const PLATFORM_SETTINGS: RouterSettings = {"]
    for setting in plain():
        if setting.aws:
            quoted = setting.aws if setting.kind in TYPESCRIPT_TYPES else f"'{setting.aws}'"
            lines.append(f"  {setting.camel}: {quoted}, // {(PLATFORM | AWS)[setting.name][1]}")
    return "\n".join([*lines, "};", ""])


# Files ---------------------------------------------------------------------------------------------------------------


def between(text: str, part: str, body: str) -> str:
    """The text with the lines between `# generated: PART` and `# end of PART` replaced."""
    pattern = re.compile(rf"(^ *# generated: {part}\b[^\n]*\n).*?(^ *# end of {part}$)", re.M | re.S)
    changed, count = pattern.subn(lambda found: f"{found[1]}{body}\n{found[2]}", text)
    if count != 1:
        raise SystemExit(f"the marks of {part} are {count} times in the file, not once")
    return changed


def template(text: str) -> str:
    for part, write in CLOUDFORMATION.items():
        text = between(text, part, write())
    return text


def on_page(text: str, part: str, body: str) -> str:
    """The same in Markdown."""
    start, end = f"<!-- {part}: written by tools/gen_deploy.py -->\n", f"\n<!-- end of {part} -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"a page has no marks for its {part}")
    return before + start + body + end + after


def chart_values_as_written(text: str) -> str:
    return between(text, "settings", helm_values())


def chart_readme(text: str) -> str:
    values = chart_values_as_written((CHART / "values.yaml").read_text())
    schema = json.loads(helm_schema((CHART / "values.schema.json").read_text()))
    return on_page(text, "values", chart_values.table(values, schema))


CLOUDFORMATION: dict[str, Callable[[], str]] = {
    "parameters": cloudformation_parameters,
    "conditions": cloudformation_conditions,
    "environment": cloudformation_environment,
    "secrets": cloudformation_secrets,
    "secret policies": cloudformation_secret_policies,
    "alarms": alarms.cloudformation,
}
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "lambda-dispatch"
FILES: dict[Path, Callable[[str], str]] = {
    DEPLOY / "cloudformation" / "router.yaml": template,
    CHART / "values.schema.json": helm_schema,
    CHART / "values.yaml": chart_values_as_written,
    CHART / "README.md": chart_readme,
    DEPLOY / "terraform" / "settings.tf": lambda _: terraform(),
    DEPLOY / "terraform" / "alarms.tf": lambda _: alarms.terraform(),
    DEPLOY / "cdk" / "src" / "settings.ts": lambda _: cdk(),
    DEPLOY / "cdk" / "src" / "alarms.ts": lambda _: alarms.cdk(),
    ROOT / "docs" / "aws.md": lambda text: on_page(text, "alarms", alarms.page()),
}


def stale() -> dict[Path, str]:
    """Each file that is not what is written today, with what it should hold."""
    found = {}
    for path, write in FILES.items():
        before = path.read_text() if path.exists() else ""
        after = write(before)
        if after != before:
            found[path] = after
    return found


def main() -> int:
    changed = stale()
    for path, text in changed.items():
        print(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if changed and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
