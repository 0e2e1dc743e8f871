"""The limits themselves: what the documentation says of them, and how they are set."""

import ast
from pathlib import Path

import pytest

from atoken.processing import size_limits_atoken
from atoken.processing.size_limits_atoken import SizeLimit

ROOT = Path(__file__).resolve().parents[2]


def limits() -> dict[str, int]:
    """Variable -> default, of all limits in the source."""
    found = {}
    packages = [place.parent for place in ROOT.glob("*/__init__.py") if place.parent.name != "tests"]
    for path in (file for package in packages for file in package.rglob("*.py")):
        if "SizeLimit(" not in (text := path.read_text(encoding="utf-8")):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "SizeLimit":
                variable, default = node.args[:2]
                found[ast.literal_eval(variable)] = eval(compile(ast.Expression(default), str(path), "eval"))
    return found


def test_the_documentation_lists_every_limit():
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    found = limits()
    assert len(found) >= 9
    for variable, default in found.items():
        assert f"| `{variable}` | {default:,} |" in text, variable


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e9", "9" * 30, "1.5"])
def test_settings_that_are_no_numbers(value, monkeypatch):
    monkeypatch.setenv("ATOKEN_MAX_JSON_BYTES", value)
    with pytest.raises(ValueError, match="ATOKEN_MAX_JSON_BYTES must be a positive integer"):
        size_limits_atoken.JSON_BYTES.check(1, "a")


def test_a_limit_says_how_it_is_raised(monkeypatch):
    limit = SizeLimit("ATOKEN_MAX_OF_A_TEST", 10, "things")
    limit.check(10, "a.png")
    with pytest.raises(ValueError, match="a.png must have at most 10 things, got 11.*ATOKEN_MAX_OF_A_TEST to a larger"):
        limit.check(11, "a.png")
    monkeypatch.setenv("ATOKEN_MAX_OF_A_TEST", "11")
    limit.check(11, "a.png")
