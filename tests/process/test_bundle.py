"""The bundle: what it is made of, and that it runs where nothing else is."""

import hashlib
import os
import shutil
import socket
import ssl
import tarfile
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support import bundle
from tests.support.certs import make
from tests.support.extension_rig import Rig, play, terminate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PACKED, UNPACKED = 9_000_000, 24_000_000  # bytes
START = "/opt/extensions/lambda-dispatch"
ENTRY = "/opt/lambda-dispatch/lambda-dispatch"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    bundle.build(folder)
    return folder


@pytest.fixture(scope="module")
def tree(output: Path) -> Path:
    return output / f"bundle-{bundle.ARCH}"


# What it is -----------------------------------------------------------------------------------------------------------


def test_its_size_is_within_what_a_layer_may_cost(output: Path, tree: Path) -> None:
    unpacked = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
    packed = (output / f"lambda-dispatch-extension-{bundle.ARCH}.zip").stat().st_size
    assert unpacked <= UNPACKED
    assert packed <= PACKED


def test_two_builds_give_the_same_bytes(output: Path, tmp_path: Path) -> None:
    bundle.build(tmp_path, TMPDIR=str(tmp_path), PYTHONHASHSEED="7", TZ="Asia/Tokyo")
    for name in (f"lambda-dispatch-extension-{bundle.ARCH}.{kind}" for kind in ("zip", "tar")):
        first, second = (hashlib.sha256((folder / name).read_bytes()).hexdigest() for folder in (output, tmp_path))
        assert first == second, name


def test_the_layer_and_the_image_hold_the_same_files(output: Path, tree: Path) -> None:
    wanted = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    with zipfile.ZipFile(output / f"lambda-dispatch-extension-{bundle.ARCH}.zip") as layer:
        modes = {f"opt/{info.filename}": info.external_attr >> 16 & 0o777 for info in layer.infolist()}
        assert layer.read("bootstrap") == layer.read("extensions/lambda-dispatch")
    assert modes.pop("opt/bootstrap") == 0o755  # a layer's alone
    assert set(modes) == set(wanted)
    with tarfile.open(output / f"lambda-dispatch-extension-{bundle.ARCH}.tar") as image:
        files = [member for member in image.getmembers() if member.isfile()]
        assert {member.name for member in files} == set(wanted)
        assert {member.name: member.mode for member in files} == modes
        assert {(member.uid, member.gid, member.uname) for member in image.getmembers()} == {(0, 0, "")}
    for name in ("opt/extensions/lambda-dispatch", "opt/lambda-dispatch/lambda-dispatch", "opt/lambda-dispatch/python"):
        assert modes[name] == 0o755


def test_every_library_it_needs_is_in_it_and_no_path_of_the_builder(tree: Path) -> None:
    lib = tree / "opt" / "lambda-dispatch" / "lib"
    for path in [*lib.iterdir(), tree / "opt" / "lambda-dispatch" / "python"]:
        lines = bundle.elf_needs(path)
        assert not [line for line in lines if "RUNPATH" in line or "RPATH" in line], path
        needed = {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}
        assert needed <= {found.name for found in lib.iterdir()}, path
        assert str(bundle.ROOT).encode() not in path.read_bytes(), path
    assert "There is no dynamic section" in "\n".join(bundle.elf_needs(tree / "opt" / "extensions" / "lambda-dispatch"))


# Where it runs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def empty(tree: Path, tmp_path: Path) -> Path:
    bundle.need_namespaces()
    return bundle.empty_root(tree, tmp_path / "root")


async def relays(r: Rig) -> None:
    """Text, a large body, compression; then SHUTDOWN."""
    r.invoke(2)
    answer = await r.exchange("GET", "/text/100")
    assert (answer.status, len(answer.body)) == (200, 100)
    body = os.urandom(300_000)
    answer = await r.exchange("POST", "/echo", [("content-length", str(len(body)))], body)
    assert answer.body == body
    answer = await r.exchange("GET", "/text/9000", [("accept-encoding", "gzip")])
    assert answer.get("content-encoding") == "gzip"
    assert len(answer.body) < 2000
    r.api.shut_down()
    assert await r.extension.exited() == 0


def environment_of_an_empty_root() -> dict[str, str]:
    return {"PYTHONHOME": "/nowhere", "LD_LIBRARY_PATH": "/nowhere", "PYTHONSTARTUP": "/nowhere"}


@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_it_serves_from_a_root_with_nothing_else(empty: Path, read_only: bool) -> None:
    """No /tmp, no /etc, no /lib."""

    async def body(r: Rig) -> None:
        await relays(r)
        assert r.api.registered == [("lambda-dispatch", {"events": ["SHUTDOWN"]})]

    play(body, launcher=bundle.inside(empty, START, read_only=read_only), env=environment_of_an_empty_root())


def test_it_talks_tls_from_a_root_with_nothing_else(empty: Path, tmp_path: Path) -> None:
    pair = make(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["h2"])
    play(relays, launcher=bundle.inside(empty, START), tls=context)


def test_the_router_by_name_is_found(empty: Path) -> None:
    """Through the bundle's own libc, from /etc/hosts."""

    async def body(r: Rig) -> None:
        r.invoke(1, DispatcherUrl=r.router.url.replace("127.0.0.1", "router.test"))
        assert (await r.exchange("GET", "/text/5")).status == 200

    (empty / "etc").mkdir()
    (empty / "etc" / "hosts").write_text("127.0.0.1 router.test\n")
    play(body, launcher=bundle.inside(empty, START))


def own_application(root: Path, *flags: str) -> Callable[[Rig], Awaitable[None]]:
    """Compiles an application into the root, which is the entry point's command there; what the test then does."""
    bundle.compile_app(root / "app", *flags)

    async def body(r: Rig) -> None:
        r.invoke(1)
        answer = await r.exchange("GET", "/page?x=1")
        assert (answer.status, answer.body) == (200, f"GET /page?x=1 PORT={r.app_port}".encode())
        terminate(r.extension)
        assert await r.extension.exited() == 0

    return body


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_as_entry_point_beside_a_static_application_in_a_root_with_nothing_else(empty: Path) -> None:
    body = own_application(empty, "-static")
    play(body, launcher=bundle.inside(empty, ENTRY), command=["/app"], app=None, app_port=free_port())


def test_as_entry_point_beside_an_application_of_musl(tree: Path, tmp_path: Path) -> None:
    bundle.need_namespaces()
    root = bundle.musl_root(tree, tmp_path / "root")
    body = own_application(root)
    assert any("libc.so" in line for line in bundle.elf_needs(root / "app"))
    play(body, launcher=bundle.inside(root, ENTRY), command=["/app"], app=None, app_port=free_port())


NODE_APP = """
const http = require("http");
const port = process.env.PORT;
http.createServer((q, s) => s.end(`${q.method} ${q.url} PORT=${port}`)).listen(port, "127.0.0.1");
"""


def test_beside_node(tree: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node: apt-get install nodejs")

    async def body(r: Rig) -> None:
        r.invoke(1)
        answer = await r.exchange("GET", "/page", [("host", "example.org")])
        assert answer.body == f"GET /page PORT={r.app_port}".encode()
        terminate(r.extension)
        assert await r.extension.exited() == 0

    play(body, launcher=[str(tree) + ENTRY], command=[node, "-e", NODE_APP], app=None, app_port=free_port())


def only_child(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_a_command_that_cannot_be_started_is_an_init_error_that_names_it(tree: Path) -> None:
    async def body(r: Rig) -> None:
        assert await r.extension.exited() == 1
        assert r.api.init_errors[0]["errorType"] == "AppNotStarted"
        assert "/no/such/command" in r.api.init_errors[0]["errorMessage"]

    play(body, launcher=[str(tree) + ENTRY], command=["/no/such/command"], app=None, app_port=free_port())


def test_an_application_that_dies_ends_the_environment(empty: Path) -> None:
    bundle.compile_app(empty / "app", "-static")

    async def body(r: Rig) -> None:
        await r.parked()
        os.kill(only_child(r.extension.process.pid), 9)
        assert await r.extension.exited() == 1

    play(body, launcher=bundle.inside(empty, ENTRY), command=["/app"], app=None, app_port=free_port())
