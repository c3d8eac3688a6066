"""The commands have the same names everywhere: supervisor, ctl, admin port, page and docs."""

import argparse
import re
from pathlib import Path

from lambda_dispatch import ctl
from lambda_dispatch.admin import commands
from lambda_dispatch.completions import words
from lambda_dispatch.supervisor.operator import OPS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/operations.md").read_text()


def test_ctl_has_every_command_with_what_it_needs() -> None:
    (subcommands,) = (it for it in ctl.parser()._actions if isinstance(it, argparse._SubParsersAction))
    assert set(subcommands.choices) == set(OPS) == set(words("ctl"))
    for name, op in OPS.items():
        taken = {it.dest for it in subcommands.choices[name]._actions}
        assert set(op.needs) <= taken, name


def test_the_admin_port_has_every_command_but_the_state() -> None:
    paths = [f"/api/v1/pools/x/{last}" for last in commands.POOL_OPS] + list(commands.OPS)
    paths += [f"/api/v1/router{last}" for last in commands.ROUTER_OPS] + ["/api/v1/instances/x/drain"]
    reached = {(commands.command_at(path) or {})["op"] for path in paths}
    assert reached == set(OPS) - {"state"}


def test_the_docs_and_the_page_have_every_command() -> None:
    table = PAGE.partition("\n## Commands\n")[2].partition("\n### ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)", table, re.M)) - {"lambda-dispatch"} == set(OPS)
    script = (ROOT / "src/lambda_dispatch/admin/page/controls.js").read_text()
    html = (ROOT / "src/lambda_dispatch/admin/page/index.html").read_text()
    buttons = set(re.findall(r'id="do-([a-z-]+)"', html))
    assert buttons == set(re.findall(r'^    "?([a-z-]+)"?: \(\) => command', script, re.M))
    assert {name.replace("set-", "").replace("clear-", "") for name in buttons} == set(OPS) - {"state"}


def test_the_docs_have_every_verdict() -> None:
    source = (ROOT / "src/lambda_dispatch/admin/verdict.py").read_text()
    page = (ROOT / "docs/verdicts.md").read_text()
    said = re.findall(r'Verdict\("\w+", f?"([^"{]+)', source)
    assert len(said) >= 9
    assert [text for text in said if "| `" + text.rstrip("; ") not in page] == []
