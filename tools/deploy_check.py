"""Every validator of what is in deploy/, of the Dockerfile, the shell scripts and the workflows:

    ./run deploy-check [--only NAME …] [--list]

None needs an account. A tool that is missing is named, with the way to get it, and makes the exit code 3; what a tool
finds makes it 1. What is argued stands beside what it is about: in the files (checkov:skip, hadolint ignore), or in
ARGUED here.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "lambda-dispatch"
CLOUDFORMATION = sorted(str(path.relative_to(ROOT)) for path in (DEPLOY / "cloudformation").glob("*.yaml"))
VALUES = sorted((CHART / "ci").glob("*.yaml"))
KUBERNETES = "1.34.0"  # what the chart is rendered for; its schemas are those of kubernetes-validate
# Findings of kube-score that we do not follow, each with the reason.
ARGUED = {
    "container-image-pull-policy": "tags are immutable and a digest can be given: pulling again finds the same image",
    "container-resources": "no CPU limit: throttling a router for the rest of 100 ms is a stall for every client",
    "pod-networkpolicy": "networkPolicy.enabled; off by default because its peers are the cluster's to name",
}
# Schemas of custom resources, read out of their projects' own definitions.
DEFINITIONS = {
    "ScaledObject": ("github.com/kedacore/keda/v2@v2.17.2", "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "HTTPRoute": ("sigs.k8s.io/gateway-api@v1.3.0", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    "Certificate": ("github.com/cert-manager/cert-manager@v1.18.2", "deploy/crds/crd-certificates.yaml"),
}
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
for kind in ("servicemonitors", "podmonitors", "prometheusrules"):
    name = {"servicemonitors": "ServiceMonitor", "podmonitors": "PodMonitor", "prometheusrules": "PrometheusRule"}[kind]
    DEFINITIONS[name] = (OPERATOR, f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml")


class Missing(Exception):
    """A tool that is not here, and how to get it."""


def tool(name: str, how: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is missing: {how}")
    return found


def python_with(*modules: str) -> str:
    """A Python that has these modules: this one, or the one beside a validator."""
    beside = [
        Path(found).resolve().parent / "python" for name in ("cfn-lint", "checkov") if (found := shutil.which(name))
    ]
    for candidate in [Path(sys.executable), *beside]:
        words = [str(candidate), "-W", "ignore", "-c", f"import {', '.join(modules)}"]
        if candidate.exists() and subprocess.run(words, capture_output=True).returncode == 0:
            return str(candidate)
    raise Missing(f"no Python has {' and '.join(modules)}: {PIP}")


PIP = "pip install 'lambda-dispatch[deploy]'"


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """Its output; SystemExit with it where it found something."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout)
    return done.stdout


def generated() -> None:
    run(sys.executable, "tools/gen_deploy.py", "--check")


def cfn_lint() -> None:
    run(tool("cfn-lint", PIP), "--non-zero-exit-code", "warning", *CLOUDFORMATION)


def sam_translator() -> None:
    """The SAM template as the service would expand it."""
    program = (
        "import json, sys\n"
        "from samtranslator.public.translator import ManagedPolicyLoader\n"
        "from samtranslator.translator.transform import transform\n"
        "from cfnlint.decode import cfn_yaml\n"
        "class Loader:\n    def load(self): return {}\n"
        "template = json.loads(json.dumps(cfn_yaml.load(sys.argv[1])))\n"
        "template['Resources']['Application']['Properties']['CodeUri'] = 's3://bucket/application.zip'\n"
        "made = transform(template, {'Architecture': 'arm64'}, Loader())\n"
        "kinds = sorted(resource['Type'] for resource in made['Resources'].values())\n"
        "assert 'AWS::Lambda::Function' in kinds, kinds\n"
    )
    run(python_with("samtranslator", "cfnlint"), "-W", "ignore", "-c", program,
        "deploy/cloudformation/application-zip.yaml", env={"AWS_DEFAULT_REGION": "eu-west-1"})  # fmt: skip


def checkov() -> None:
    program = tool("checkov", PIP)
    for framework, folder in (("cloudformation", "cloudformation"), ("terraform", "terraform")):
        run(program, "-d", DEPLOY / folder, "--framework", framework, "--compact", "--quiet", "--skip-download")


def terraform() -> None:
    program = tool("terraform", "install Terraform or OpenTofu 1.7 or newer")
    run(program, "fmt", "-check", "-recursive", "-diff", "deploy/terraform",
        env={"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"})  # fmt: skip


def terraform_test() -> None:
    """validate, and the tests with a mocked provider, which need the provider for its schema."""
    program = tool("terraform", "install Terraform or OpenTofu 1.7 or newer")
    with tempfile.TemporaryDirectory() as name:
        module = Path(name, "module")
        left = shutil.ignore_patterns(".terraform", ".terraform.lock.hcl")
        shutil.copytree(DEPLOY / "terraform", module, ignore=left)
        cache = Path(name, "cache")  # one copy of the provider for the module and its examples
        cache.mkdir()
        environ = {"CHECKPOINT_DISABLE": "1", "TF_PLUGIN_CACHE_DIR": str(cache)}
        for folder in (module, *sorted(module.glob("examples/*")), module / "modules" / "function"):
            try:
                run(program, "init", "-backend=false", "-input=false", "-no-color", cwd=folder, env=environ)
            except SystemExit as error:
                if "registry.terraform.io" not in str(error):
                    raise
                raise Missing(
                    "the provider aws cannot be had from its registry: use a mirror, for example "
                    "TF_CLI_ARGS_init=-plugin-dir=FOLDER"
                ) from None
            run(program, "validate", "-no-color", cwd=folder, env=environ)
        run(program, "test", "-no-color", cwd=module, env=environ)


def hcl() -> None:
    """Every file parses."""
    program = "import hcl2, sys\nfor name in sys.argv[1:]: hcl2.load(open(name))\n"
    files = sorted(str(path) for path in (DEPLOY / "terraform").rglob("*.tf") if ".terraform" not in path.parts)
    run(python_with("hcl2"), "-c", program, *files)


def rendered(folder: Path) -> list[Path]:
    helm = tool("helm", "go install helm.sh/helm/v3/cmd/helm@v3.22.0")
    found = []
    for values in VALUES:
        run(helm, "lint", CHART, "--strict", "--quiet", "-f", values)
        text = run(helm, "template", "r", CHART, "-n", "app", "--kube-version", KUBERNETES, "-f", values)
        target = folder / values.name
        target.write_text(text)
        found.append(target)
    return found


def helm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rendered(Path(folder))


def definitions(folder: Path) -> None:
    """kubeconform's schemas of the custom resources that the chart can make."""
    import yaml

    go = tool("go", "install Go 1.24 or newer")
    for kind, (module, path) in DEFINITIONS.items():
        found = json.loads(run(go, "mod", "download", "-json", module, cwd=folder, env={"GOFLAGS": "-mod=mod"}))
        document = yaml.safe_load((Path(found["Dir"]) / path).read_text())
        for version in document["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            close(schema)
            (folder / f"{kind.lower()}_{version['name']}.json").write_text(json.dumps(schema))


def close(schema: object) -> None:
    """Unknown fields are errors, as the API server's strict validation has it."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
        for value in schema.values():
            close(value)
    elif isinstance(schema, list):
        for value in schema:
            close(value)


def schemas() -> Path:
    """The JSON schemas of kubernetes-validate, of the newest version that it has."""
    python = python_with("kubernetes_validate")
    place = run(python, "-c", "import kubernetes_validate as k, os; print(os.path.dirname(k.__file__))").strip()
    every = Path(place, "kubernetes-json-schema").glob("v*-local-strict")
    return max(every, key=lambda path: [int(part) for part in path.name.split("-")[0][1:].split(".")])


def kubeconform() -> None:
    program = tool("kubeconform", "go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = rendered(folder)
        definitions(folder)
        # Their references are to a server's /api: ours are to a file.
        definition = folder / "_definitions.json"
        source = schemas()
        shutil.copy(source / definition.name, definition)
        lines = [line for file in files for line in file.read_text().splitlines()]
        kinds = {line.split(": ")[1].lower() for line in lines if line.startswith("kind: ")}
        for schema in (path for path in source.glob("*.json") if path.name.split("-")[0] in kinds):
            text = schema.read_text().replace("/api/_definitions.json", f"file://{definition}")
            (folder / schema.name).write_text(text)
        run(program, "-strict", "-summary",
            "-schema-location", f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json",
            "-schema-location", f"{folder}/{{{{.ResourceKind}}}}_{{{{.ResourceAPIVersion}}}}.json", *files)  # fmt: skip


def kube_score() -> None:
    program = tool("kube-score", "go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0")
    with tempfile.TemporaryDirectory() as name:
        ignored = [word for check in ARGUED for word in ("--ignore-test", check)]
        for file in rendered(Path(name)):
            run(program, "score", "--output-format", "ci", *ignored, file)


def cdk() -> None:
    """jsii, the assertion tests and cdk-nag, the TypeScript example, and the Python one against the package of jsii."""
    npm = tool("npm", "install Node.js 22 or newer")
    folder = DEPLOY / "cdk"
    if not (folder / "node_modules").exists():
        run(npm, "install", "--no-audit", "--no-fund", "--silent", cwd=folder)
    run(npm, "run", "build", cwd=folder)
    run(npm, "test", cwd=folder)
    with tempfile.TemporaryDirectory() as name:
        run("npx", "tsc", "-p", "examples/typescript", "--outDir", name, cwd=folder)
        modules = Path(name, "node_modules")
        (modules / "@lambda-dispatch").mkdir(parents=True)
        (modules / "@lambda-dispatch" / "cdk").symlink_to(folder)
        run("node", Path(name, "app.js"), cwd=Path(name),
            env={"CDK_OUTDIR": f"{name}/out", "NODE_PATH": str(folder / "node_modules")})  # fmt: skip
        synthesized(Path(name, "out"), "TypeScript")
    run("npx", "jsii-pacmak", "--targets", "python", cwd=folder)
    (wheel,) = (folder / "dist" / "python").glob("*.whl")
    with tempfile.TemporaryDirectory() as name:
        run(sys.executable, "-m", "venv", f"{name}/venv")
        run(f"{name}/venv/bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel)
        run(f"{name}/venv/bin/python", "-W", "ignore", folder / "examples/python/app.py", cwd=Path(name),
            env={"CDK_OUTDIR": f"{name}/out"})  # fmt: skip
        synthesized(Path(name, "out"), "Python")


def synthesized(out: Path, language: str) -> None:
    template = json.loads((out / "LambdaDispatch.template.json").read_text())
    kinds = {resource["Type"] for resource in template["Resources"].values()}
    if not {"AWS::ECS::Service", "AWS::Lambda::Function"} <= kinds:
        raise SystemExit(f"the {language} example makes {sorted(kinds)}: no service or no function")


def hadolint() -> None:
    run(tool("hadolint", PIP), "Dockerfile")


def shellcheck() -> None:
    scripts = ["run", ".ci/run", *map(str, (DEPLOY / "cloudformation/application").glob("*.sh"))]
    # A && B || die: die does not return, and a false B is what it is for.
    run(tool("shellcheck", PIP), "--exclude", "SC2015", *scripts)


def actionlint() -> None:
    run(tool("actionlint", "go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"),
        *sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml"))))  # fmt: skip


CHECKS: dict[str, Callable[[], None]] = {
    "generated": generated,
    "cfn-lint": cfn_lint,
    "sam-translator": sam_translator,
    "checkov": checkov,
    "terraform": terraform,
    "terraform-test": terraform_test,
    "hcl": hcl,
    "helm": helm,
    "kubeconform": kubeconform,
    "kube-score": kube_score,
    "hadolint": hadolint,
    "shellcheck": shellcheck,
    "actionlint": actionlint,
    "cdk": cdk,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    parser.add_argument("--list", action="store_true", help="the names of the checks")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(CHECKS))
        return 0
    found, missing = 0, 0
    for name in arguments.only:
        try:
            CHECKS[name]()
        except Missing as error:
            print(f"deploy-check: {name:<15} not run: {error}")
            missing += 1
        except SystemExit as error:
            print(f"deploy-check: {name:<15} FAILED\n{error}")
            found += 1
        else:
            print(f"deploy-check: {name:<15} ok", flush=True)
    return 1 if found else 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
