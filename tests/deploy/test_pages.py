"""The pages about deployment name what exists: settings, files, links; the old router's settings are all answered."""

import re
from pathlib import Path

import pytest
from tools import alarms

from lambda_dispatch.config import FOREIGN, OPTIONS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = ["applications.md", "aws.md", "kubernetes.md", "which-one.md", "upgrade-from-the-original.md"]
# The original router's, as its documentation lists them.
ORIGINAL = ["FunctionName", "MaxConcurrentCount", "ChannelCount", "InstanceCountMultiplier", "ScalingAlgorithm"]
ORIGINAL += ["IncomingRequestHTTPPort", "IncomingRequestHTTPSPort", "IncomingRequestTimeout"]
ORIGINAL += ["ControlChannelInsecureHTTP2Port", "ControlChannelHTTP2Port", "AllowInsecureControlChannel"]
ORIGINAL += ["PreferredControlChannelScheme", "EnvVarForCallbackIp", "RouterCallbackHost", "CloudWatchMetricsEnabled"]
ORIGINAL += ["MaxWorkerThreads", "MinWorkerThreads", "MinCompletionPortThreads", "MaxCompletionPortThreads"]


@pytest.mark.parametrize("page", PAGES)
def test_links_and_paths_lead_somewhere(page: str) -> None:
    text = (DOCS / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:deploy|src/lambda_dispatch|tools|docs)/[\w./-]+)`", text)
    assert [link for link in links if not (DOCS / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_a_word_that_is_spelt_like_a_setting_is_one(page: str) -> None:
    template = (ROOT / "deploy/cloudformation/router.yaml").read_text()
    text = (DOCS / page).read_text()
    known = {option.name for option in OPTIONS.values()} | set(FOREIGN) | set(re.findall(r"^  (\w+):", template, re.M))
    words = set(
        re.findall(r"`(?:settings\.|secrets\.)?([A-Z][a-z]+(?:[A-Z][A-Za-z0-9]+)+)(?:=[^`]*)?(?:: [^`]*)?`", text)
    )
    others = {"LambdaDispatchECS", "LambdaDispatchService", "LambdaDispatchFunction", "LambdaDispatch"}
    assert words - known - others - set(alarms.table()) == set()


def test_every_setting_of_the_original_router_is_answered() -> None:
    text = (DOCS / "upgrade-from-the-original.md").read_text()
    assert [name for name in ORIGINAL if f"`{name}`" not in text] == []
    names = {option.name for option in OPTIONS.values()} | set(FOREIGN)
    assert [name for name in ORIGINAL if name not in names] == []


def test_every_parameter_on_the_page_about_aws_is_one_of_the_template() -> None:
    template = (ROOT / "deploy/cloudformation/router.yaml").read_text()
    command = (DOCS / "aws.md").read_text().split("--parameter-overrides")[1].split("\n\n")[0]
    names = re.findall(r"(\w+)=", command)
    assert len(names) >= 5
    assert [name for name in names if f"\n  {name}:\n" not in template] == []
