"""The quick checks of ./run deploy-check; those whose tool is not here are skipped, and say how to get it."""

import pytest
from tools import deploy_check
from tools.release_notes import CHANGELOG, notes

# checkov alone takes half of the time that all of these take; the others fetch what they need.
LONG = {"checkov", "kubeconform", "terraform-test", "cdk"}


@pytest.mark.parametrize("name", sorted(set(deploy_check.CHECKS) - LONG))
def test_a_validator_finds_nothing(name: str) -> None:
    try:
        deploy_check.CHECKS[name]()
    except deploy_check.Missing as error:
        pytest.skip(str(error))
    except SystemExit as error:
        pytest.fail(f"{name}:\n{error}")


def test_what_a_validator_finds_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def finds() -> None:
        deploy_check.run("sh", "-c", "echo a finding; exit 1")

    def needs() -> None:
        deploy_check.tool("no-such-tool", "buy it")

    monkeypatch.setattr(deploy_check, "CHECKS", {"finds": finds, "needs": needs})
    monkeypatch.setattr("sys.argv", ["deploy_check"])
    assert deploy_check.main() == 1
    said = capsys.readouterr().out
    assert "a finding" in said
    assert "no-such-tool is missing: buy it" in said
    monkeypatch.setattr(deploy_check, "CHECKS", {"needs": needs})
    assert deploy_check.main() == 3


def test_release_notes_are_the_part_about_the_version() -> None:
    text = "# Changes\n\n## 1.10.0\n\n- new\n\n## 1.1.0, of May\n\n- old\n"
    assert notes(text, "1.10.0") == "- new\n"
    assert notes(text, "1.1.0") == "- old\n"
    assert notes(text, "1.1") is None
    assert notes(CHANGELOG.read_text(), "0.1.0")
