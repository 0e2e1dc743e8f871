"""The Python in README.md and docs/*.md runs as it stands, page by page, in a folder of its own and offline."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# An HTML comment right above a block, such as `<!-- not run: needs the Hub -->`, leaves it at being compiled.
BLOCK = re.compile(r"(?P<comment><!--[^>]*-->\s*)?^```python[^\n]*\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    line: int
    code: str
    runs: bool


def snippets(page: Path) -> list[Snippet]:
    text, found = page.read_text(encoding="utf-8"), []
    for match in BLOCK.finditer(text):
        comment = match["comment"] or ""
        runs = not comment.removeprefix("<!--").strip().startswith("not run")
        found.append(Snippet(text.count("\n", 0, match.start("code")), match["code"], runs))
    return found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What a reader finds around: the checkpoints, and media under the names that the pages use."""
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints", target_is_directory=True)
    (tmp_path / "examples").symlink_to(ROOT / "examples", target_is_directory=True)
    shutil.copy(ROOT / "examples/media/cat.jpg", tmp_path / "photo.jpg")
    shutil.copy(ROOT / "examples/media/cup.mp4", tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_page(page, folder):
    namespace = {"__name__": "__main__"}
    for snippet in snippets(page):
        # Blank lines in front, so that errors name the line of the page.
        code = compile("\n" * snippet.line + snippet.code, page, "exec")
        if snippet.runs:
            exec(code, namespace)


def test_how_snippets_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "text\n```python\na = 1\n```\n```bash\nls\n```\n"
        "<!-- not run: needs the Hub -->\n```python\nb = 2\n```\n<!-- a note -->\n\n```python\nc = 3\n```\n"
    )
    assert snippets(page) == [Snippet(2, "a = 1\n", True), Snippet(9, "b = 2\n", False), Snippet(14, "c = 3\n", True)]


def test_every_block_of_python_is_found():
    for page in PAGES:
        assert len(snippets(page)) == page.read_text(encoding="utf-8").count("```python"), page
    assert sum(len(snippets(page)) for page in PAGES) > 20
