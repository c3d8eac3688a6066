"""SIGHUP reads the file again: what can change does, in processes that go on; the rest is named."""

import http.client
import json
import os
import signal
from pathlib import Path

from tests.support.loop import scenario, until
from tests.support.router_process import RouterProcess, descendants


def hang_up(router: RouterProcess) -> None:
    assert router.process is not None
    router.process.send_signal(signal.SIGHUP)


def config(router: RouterProcess, token: str) -> tuple[int, dict[str, dict[str, object]]]:
    client = http.client.HTTPConnection("127.0.0.1", router.ports["admin"], timeout=10)
    try:
        client.request("GET", "/api/v1/config", headers={"authorization": f"Bearer {token}"})
        answer = client.getresponse()
        body = answer.read()
    finally:
        client.close()
    return answer.status, json.loads(body) if answer.status == 200 else {}


@scenario
async def test_a_reload_changes_workers_scaler_and_admin_process_without_a_restart(shared: Path) -> None:
    file = shared / "router.toml"
    file.write_text('MaxInstances = 7\nMaxRequestLine = 1024\nAdminToken = "token-number-one"\n')
    async with RouterProcess.running("--config", str(file), "--admin-port", "0", workers=2) as router:
        assert router.process is not None
        family = set(descendants(router.process.pid))
        long = "/" + "a" * 2000
        async with await router.client() as client:
            assert (await client.get(long)).status in (414, 431)
        assert (await router.status())["pools"][0]["max_instances"] == 7
        assert config(router, "token-number-one")[1]["MaxInstances"] == {
            "value": 7,
            "source": f"{file}: MaxInstances",
        }
        file.write_text(
            'MaxInstances = 9\nMaxRequestLine = 4096\nAdminToken = "token-number-two"\n'
            'AccessLog = "text"\nScalingAlgorithm = "ewma"\nMaxConnections = 50\n'
        )
        hang_up(router)
        await until(lambda: "configuration reloaded" in router.text(), "a word in the log", 20)
        said = router.text()
        assert "live=MaxInstances,MaxRequestLine,AccessLog,AdminToken" in said
        assert "restart needed option=ScalingAlgorithm" in said
        assert "rolling restart needed option=MaxConnections" in said
        assert "token-number-two" not in said

        async def served() -> bool:
            async with await router.client() as client:
                return (await client.get(long)).status == 200

        async def eventually_served() -> None:
            while not await served():
                pass

        await eventually_served()
        await until(lambda: config(router, "token-number-two")[0] == 200, "the new token")
        assert config(router, "token-number-one")[0] == 401
        shown = config(router, "token-number-two")[1]
        assert shown["MaxInstances"] == {"value": 9, "source": f"{file}: MaxInstances"}
        assert shown["ScalingAlgorithm"] == {"value": "adaptive", "source": "default"}
        assert (await router.status())["pools"][0]["max_instances"] == 9
        await until(lambda: "aaaa HTTP/1.1" in router.text(), "a line of the access log")
        assert set(descendants(router.process.pid)) == family, "nothing was restarted"


@scenario
async def test_a_file_that_is_wrong_changes_nothing_and_the_log_says_why(shared: Path) -> None:
    file = shared / "router.toml"
    file.write_text("MaxInstances = 7\n")
    async with RouterProcess.running("--config", str(file)) as router:
        file.write_text("MaxInstances = 8\nMaxQueu = 1\n")
        hang_up(router)
        await until(lambda: "reload failed" in router.text(), "a word in the log", 20)
        assert f"{file}: MaxQueu is no option; did you mean MaxQueue?" in router.text()
        file.write_text("MaxInstances = 9\n")
        hang_up(router)
        await until(lambda: "configuration reloaded" in router.text(), "a word in the log", 20)
        assert "live=MaxInstances" in router.text()
        assert "certificate=False" in router.text()


@scenario
async def test_nothing_in_a_file_stops_a_router_that_reads_it_again(shared: Path) -> None:
    file = shared / "router.toml"
    file.write_text("MaxInstances = 7\n")
    async with RouterProcess.running("--config", str(file)) as router:
        for content in ('AdminTokenFile = "\\u0000"', "MaxQueue = " + "[" * 100_000, "\0", None):
            file.unlink()
            if content is None:
                os.mkfifo(file)
            else:
                file.write_text(content)
            before = router.text().count("reload failed")
            hang_up(router)
            await until(lambda n=before: router.text().count("reload failed") > n, "a word in the log", 20)  # type: ignore[misc]
            async with await router.client() as client:
                assert (await client.get("/health")).status == 200
        assert (await router.status())["pools"][0]["max_instances"] == 7
        assert "Traceback" not in router.text()
        router.terminate()
        assert await router.exit_code() == 0
