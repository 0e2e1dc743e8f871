"""The page: every section with its protocol and what the real one needs, names of files escaped, nothing loaded."""

import re

from PIL import Image

from atoken.evaluation.paper.page import write_page
from atoken.evaluation.paper.parts import MissingInput, Part
from atoken.evaluation.paper.reconstruction_pictures import make_images
from atoken.evaluation.paper.run import make_all
from atoken.evaluation.paper.sections import SECTIONS
from atoken.evaluation.paper.workspace import Workspace
from atoken.evaluation.paper_tables import paper_rows
from atoken.pages.paper import Shown, TitledTable
from atoken.pages.report import Table

from ...processing.samples import photo
from .helpers import FEW, section

PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
)


def test_all_tables_and_figures_are_there_once():
    names = [section.name for section in SECTIONS]
    expected = {f"table-{number}" for number in range(2, 14)}
    expected |= {f"figure-{number}" for number in (4, *range(6, 15))}
    assert set(names) == expected and len(names) == len(expected)
    for one in SECTIONS:
        assert one.name.replace("-", " ").capitalize() == one.title.partition(":")[0]
        assert one.paper is None or paper_rows(one.paper)


def test_every_section_says_what_the_real_one_needs(tmp_path):
    parts = [Part(f"measured {one.name}", protocol=[f"protocol of {one.name}"]) for one in SECTIONS]
    write_page(tmp_path, SECTIONS, parts)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    pieces = re.findall(r'<section id="([^"]+)">(.*?)</section>', page, re.DOTALL)
    assert [name for name, _ in pieces] == [one.name for one in SECTIONS]
    for one, (_, text) in zip(SECTIONS, pieces, strict=True):
        assert f"measured {one.name}" in text and f"protocol of {one.name}" in text
        assert all(f"<li>{label}: " in text for label in ("Command", "Data", "GPU hours"))
        if one.paper is not None:
            assert all(row.method.split(",")[0] in text for row in paper_rows(one.paper))
    assert page.count("<script") == 0 and not re.findall(r'(?:src|href)="(?!#|data:)', page)


def test_texts_are_escaped(tmp_path):
    evil = '<script>alert("x")</script>&'
    shown = Shown(PNG, evil, evil, evil)
    made = Part(evil, [TitledTable(evil, Table([evil], [[evil]]))], [shown], [evil], [evil])
    write_page(tmp_path, [section("table-1", None)], [made])
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<script" not in page and page.count("&lt;script&gt;") >= 7


def test_names_of_files_are_escaped(tmp_path):
    path = tmp_path / "data/photos/heldout" / '<b>"a"&.png'
    path.parent.mkdir(parents=True)
    Image.fromarray(photo(40, 56, 0)).save(path)
    space = Workspace(tmp_path / "out", tmp_path / "data", FEW)
    space.measures_at_hand = lambda *wanted: ([], [])  # pyright: ignore[reportAttributeAccessIssue]
    (made,) = make_all(space, (section("figure-9", make_images),))
    assert [one.caption.split(",")[0] for one in made.shown][:2] == ["original", "atoken-tiny"]
    assert re.search(r"\d\d\.\d\d dB$", made.shown[1].caption)
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert "<b>" not in page and "&lt;b&gt;&quot;a&quot;&amp;.png" in page
    assert page.count("data:image/png;base64,") == len(made.shown) == 5


def test_a_page_of_missing_parts_is_still_a_page(tmp_path):
    def nothing(space):
        raise MissingInput("docs/x.json is not here")

    made = make_all(Workspace(tmp_path, tmp_path, FEW), tuple(section(f"table-{i}", nothing) for i in (2, 3)))
    assert all(one.missing and not one.tables for one in made)
    assert (tmp_path / "index.html").read_text(encoding="utf-8").count("docs/x.json is not here") == 2
