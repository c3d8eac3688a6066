"""`lambda-dispatch dev` with the bundle: the order of a cold start as Lambda has it, the whole path as deployed."""

import shutil
from pathlib import Path

import pytest

from lambda_dispatch.local.environment.process import family
from tests.support import bundle
from tests.support.dev_run import dev_run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def extensions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.build(tmp_path_factory.mktemp("dist")) / "opt" / "extensions"


def commands(pid: int) -> str:
    return "\n".join(Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in family(pid))


def test_the_bundle_serves_the_demo_beside_its_own_command(extensions: Path) -> None:
    with dev_run("--workers", "1", "--extensions-dir", str(extensions)) as run:
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/ping")[1] == b"pong"
        assert run.ask("POST", "/echo", b"x" * 300_000)[1] == b"x" * 300_000
        assert f"{extensions.parent}/lambda-dispatch/python extension" in commands(run.process.pid).replace(
            "/extensions/..", ""
        )
        assert run.interrupt() == 0


def test_under_another_file_name_it_registers_as_that(extensions: Path, tmp_path: Path) -> None:
    shutil.copytree(extensions.parent, tmp_path / "opt")
    (tmp_path / "opt" / "extensions" / "lambda-dispatch").rename(tmp_path / "opt" / "extensions" / "web")
    with dev_run("--workers", "1", "--extensions-dir", str(tmp_path / "opt" / "extensions")) as run:
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/ping")[1] == b"pong"


def test_beside_an_application_of_go_or_c_that_is_one_static_file(extensions: Path, tmp_path: Path) -> None:
    app = bundle.compile_app(tmp_path / "app", "-static")
    with dev_run("--workers", "1", "--extensions-dir", str(extensions), "--", str(app)) as run:
        run.wait_for_line("the first environment is ready")
        assert run.ask("GET", "/page?x=1")[1].startswith(b"GET /page?x=1 PORT=")
