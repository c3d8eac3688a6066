"""What the router's image contains, started as a container would be: not root, read-only, nothing of the checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import across, bundle
from tests.support.clients import ask
from tests.support.image_root import PYTHON, ROOT_VARIABLE, inside
from tests.support.loop import scenario, soon
from tests.support.router_process import RouterProcess
from tests.support.worker_process import WorkerProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 120_000_000  # bytes, unpacked
NOT_ROOT = "Uid:\t65532\t65532\t65532\t65532"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle.need_musl()
    if os.geteuid() != 0:
        pytest.skip("not root: a read-only root for another user needs mount and chroot")
    bundle.need_namespaces()
    folder = tmp_path_factory.mktemp("root")
    done = subprocess.run(
        [sys.executable, "tools/router_root.py", "--output", str(folder)],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    place = folder / f"router-{bundle.ARCH}"
    for path in (place, *place.parents):
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(path.stat().st_mode | 0o055)  # the router's user must pass the folders above its root
    return place


@pytest.fixture
def routers_run_inside(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(ROOT_VARIABLE, str(root))
    yield


def identity(pid: int) -> tuple[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith("Uid:")), os.readlink(f"/proc/{pid}/root")


def command(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LAMBDA_", "AWS_", "PYTHON"))}
    return subprocess.run([*inside(root), *arguments], env=clean, capture_output=True, text=True)


def test_it_is_small_and_holds_no_shell_and_no_source(root: Path) -> None:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
    assert [path for path in files if path.suffix in (".pyx", ".c", ".a")] == []
    assert [path.name for path in files if path.suffix == ".py"] == ["guard.py"]  # started by its path
    programs = {path.name for path in files if os.access(path, os.X_OK)}
    assert {name for name in programs if not name.startswith("ld-")} == {"lambda-dispatch", "python"}


def test_only_the_services_that_are_called_are_left_of_botos_data(root: Path) -> None:
    (data,) = root.rglob("botocore/data")
    assert {path.name for path in data.iterdir() if path.is_dir()} == {"lambda", "sts", "sso", "sso-oidc", "signin"}


@pytest.mark.usefixtures("routers_run_inside")
@pytest.mark.parametrize("speaks", ["h1", "h2"])
@scenario
async def test_the_router_serves_out_of_it(speaks: str) -> None:
    async with RouterProcess.running(workers=2) as router:
        assert router.process is not None
        assert identity(router.process.pid) == (NOT_ROOT, os.environ[ROOT_VARIABLE])
        answer = await soon(ask(speaks, router.ports["http"], "/out-of-the-root"), "the answer")
        assert (answer.status, answer.body) == (200, b"hello from /out-of-the-root")
        url = f"http://127.0.0.1:{router.ports['http']}/health"
        done = command(Path(os.environ[ROOT_VARIABLE]), "healthcheck", url)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("routers_run_inside")
@scenario
async def test_workers_out_of_it_serve_each_others_clients() -> None:
    async with across.fleet(2) as router:
        pids = [router.router.process.pid, *router.router.pids().values()]
        assert {identity(pid) for pid in pids} == {(NOT_ROOT, os.environ[ROOT_VARIABLE])}
        await router.instance(limit=4)
        while router.hops() == 0:  # each request has a connection of its own, for the kernel to give to either worker
            assert await soon(across.ask(router.port, "/any"), "the answer") == (200, b"hello from /any")


@pytest.mark.usefixtures("routers_run_inside")
@scenario
async def test_a_worker_alone_runs_out_of_it() -> None:
    async with WorkerProcess.running() as worker:
        assert worker.process is not None
        assert identity(worker.process.pid) == (NOT_ROOT, os.environ[ROOT_VARIABLE])
        await worker.instance()
        answer = await soon(ask("h1", worker.ports["http"], "/alone"), "the answer")
        assert (answer.status, answer.body) == (200, b"hello from /alone")


def test_the_file_system_cannot_be_written(root: Path) -> None:
    done = subprocess.run([*inside(root), "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("lambda-dispatch ")
    probe = "import os; os.open('/tmp/x', os.O_CREAT | os.O_WRONLY)"
    done = subprocess.run([*inside(root, PYTHON), "-c", probe], capture_output=True, text=True)
    assert "Read-only file system" in done.stderr


@pytest.mark.usefixtures("routers_run_inside")
@scenario
async def test_its_health_check_takes_what_the_command_takes() -> None:
    async with RouterProcess.running("--admin-port", "0") as router:
        options = ("--function-name", "f", "--admin-port", str(router.ports["admin"]))
        for arguments in (options, ("--ready", *options)):
            done = command(Path(os.environ[ROOT_VARIABLE]), "healthcheck", *arguments)
            assert (done.returncode, done.stdout, done.stderr) == (0, "OK\n", "")


def test_the_health_check_fails_where_no_router_listens(root: Path) -> None:
    done = command(root, "healthcheck", "http://127.0.0.1:1/health")
    assert done.returncode == 1
    assert "Connection refused" in done.stderr


def test_wrong_settings_are_named(root: Path) -> None:
    done = command(root, "router", "--function-name", "no such name")
    assert done.returncode == 78
    assert "no such name" in done.stderr


def test_certificate_authorities_are_there(root: Path) -> None:
    if not Path("/etc/ssl/certs/ca-certificates.crt").is_file():
        pytest.skip("this machine has no /etc/ssl/certs/ca-certificates.crt to take: apt-get install ca-certificates")
    probe = "import ssl; print(len(ssl.create_default_context().get_ca_certs()))"
    done = subprocess.run([*inside(root, PYTHON), "-c", probe], capture_output=True, text=True)
    assert int(done.stdout) > 50, done.stderr


def test_the_tools_it_needs_are_named_when_they_are_missing(tmp_path: Path) -> None:
    if shutil.which("musl-gcc") is None:
        pytest.skip("no musl-gcc: apt-get install musl-tools")
    done = subprocess.run(
        [sys.executable, "tools/router_root.py", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "MUSL_CC": "no-such-compiler"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no-such-compiler is missing" in done.stderr
