"""Names, titles and captions that are HTML or scripts: in no page do they become a part of it."""

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from atoken import Gaussians
from atoken.pages import comparison
from atoken.pages.document import address
from atoken.pages.gaussians import write_gaussian_page
from atoken.pages.report import Picture, Plot, Section, Table, write_report_page

ATTACKS = {
    "script": "<script>alert(1)</script>",
    "end of a script": '</script><script>alert(1)</script><!--"',
    "end of a title": "</title></h1></style><img src=x onerror=alert(1)>",
    "attribute": "\" onerror=alert(1) x='",
    "address": "javascript:alert(1)//",
    "address in capitals": "JaVaScRiPt:alert(1)//.png",
    "data": "data:text/html,<script>alert(1)</script>",
    "comment": "--><script>alert(1)</script><!--",
    "template": "{script} {0} %s ${alert(1)}",
    "no text": os.fsdecode(b"\xff\xfe<b>"),
}


class Found(HTMLParser):
    """Counts the elements of a page, and collects attributes that could run something."""

    def __init__(self, path: Path):
        super().__init__()
        self.elements: list[str] = []
        self.dangers: list[tuple[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        for name, value in attrs:
            scheme = (value or "").strip().lower().partition(":")[0]
            if name.startswith("on") or (name in ("src", "href", "poster") and scheme in ("javascript", "vbscript")):
                self.dangers.append((name, value))
            if name in ("src", "href") and scheme == "data" and not (value or "").startswith(("data:image", "data:,")):
                self.dangers.append((name, value))


def comparison_page(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    pictures = [comparison.Picture(text, text, text, [(text, text)]), comparison.Picture(text, text)]
    row = comparison.Row(text, text, pictures, [(text, text)])
    licenses = folder / "LICENSES.md"
    licenses.write_text("| file | author | license |\n|---|---|---|\n| `a.png` | a | b |\n")
    out = folder / "out"
    out.mkdir()
    comparison.write_page(out, [row], licenses, text)
    return out / "index.html"


def report_page(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    table, pictures = Table([text, text], [[text, text]]), [Picture(text, text, text)]
    section = Section(text, table, text, [Plot(b"png", text)], {text: pictures}, {text: table})
    write_report_page(folder / "index.html", text, [section])
    return folder / "index.html"


def gaussian_page(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    one = Gaussians(torch.zeros(1, 3), torch.ones(1, 4), torch.ones(1, 3), torch.ones(1), torch.zeros(1, 3))
    write_gaussian_page(folder / "a.html", one, text)
    return folder / "a.html"


PAGES = {"comparison": comparison_page, "report": report_page, "Gaussians": gaussian_page}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_text_becomes_a_part_of_a_page(page, attack, tmp_path):
    harmless = Found(PAGES[page](tmp_path / "harmless", "harmless"))
    attacked = Found(PAGES[page](tmp_path / "attacked", ATTACKS[attack]))
    assert attacked.elements == harmless.elements
    assert attacked.dangers == harmless.dangers == []


def test_addresses_lead_to_the_file_of_that_name():
    assert address("a b#c?d%e:f.png") == "a%20b%23c%3Fd%25e%3Af.png"
    assert address("folder/ä.png") == "folder/%C3%A4.png"


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "no text"])
def test_credits(attack, tmp_path):
    text = ATTACKS[attack].replace("|", "")
    (tmp_path / "a.md").write_text(f"| file | author | license |\n|---|---|---|\n| `a.png` | {text} | [x]({text}) |\n")
    (tmp_path / "a.html").write_text(comparison.read_credits(tmp_path / "a.md")["a.png"])
    found = Found(tmp_path / "a.html")
    assert found.elements == found.dangers == []


def test_only_addresses_of_the_web_become_links(tmp_path):
    path = tmp_path / "LICENSES.md"
    path.write_text(
        "| file | author | license |\n|---|---|---|\n"
        '| `a` | [x](https://example.org/?a="onclick=b) | [y](javascript:z) |\n'
    )
    (credit,) = comparison.read_credits(path).values()
    assert 'href="https://example.org/?a=&quot;onclick=b"' in credit and "[y](javascript:z)" in credit
