"""The page and results.md, from plain data: what is shown, and that every text is escaped."""

import pytest

from atoken.evaluation.number_tables import paper_table, set_table
from atoken.evaluation.page import write_report
from atoken.evaluation.results import Result, Results
from atoken.evaluation.worst import Worst, WorstSample

PROTOCOL = {"set": {"protocol": {"resize": "<none>", "count": 2}}}


def _result(model: str, name: str = "photos & more", task: str = "reconstruction", **numbers) -> Result:
    return Result(model, name, "image", task, {"count": 2, **numbers}, PROTOCOL)


def test_columns_are_those_that_were_measured_in_a_fixed_order():
    first = _result("a", bits_per_pixel=3.0, psnr=27.128, bits=6144.0)
    table = set_table([first, _result("b", codebook={"usage": 0.5, "perplexity": 12.34})])
    assert table.heading == ["model", "PSNR ↑", "bits/pixel", "kbit", "codebook use, perplexity", "samples"]
    assert table.rows == [["a", "27.13", "3.000", "6.1", "", "2"], ["b", "", "", "", "0.500, 12.3", "2"]]
    assert table.to_markdown().splitlines()[1:3] == ["|---|---|---|---|---|---|", "| a | 27.13 | 3.000 | 6.1 |  | 2 |"]


def test_perceptual_measures_are_shown_by_their_own_names():
    distance = {"total": 54.321, "mean": 12.3, "covariance": 42.021}
    table = set_table([_result("a", st_lpips_vgg=0.17342, st_lpips_alex=0.1, fd_lite0=distance, frechet=distance)])
    assert table.heading[1:-1] == [
        "ST-LPIPS (VGG) ↓",
        "ST-LPIPS (AlexNet) ↓",
        "Fréchet ↓ (mean + covariance)",
        "FD (EfficientNet-lite0) ↓ (mean + covariance)",
    ]
    assert table.rows[0][1:-1] == ["0.1734", "0.1000", "54.321 (12.300 + 42.021)", "54.3 (12.3 + 42.0)"]


@pytest.mark.parametrize(("kind", "reconstruction", "number"), [("image", True, 4), ("object", False, 3)])
def test_the_papers_figures_are_a_table(kind, reconstruction, number):
    table = paper_table(kind, reconstruction)
    assert table.heading[0] == f"paper, Table {number}" and all(len(row) == len(table.heading) for row in table.rows)


def test_texts_are_escaped_and_addresses_quoted(tmp_path):
    results = Results("<script>", [_result("<b>", psnr=20.0, bits_per_pixel=1.0)])
    sample = WorstSample('"cat" <1>.png', 12.345, "worst/<b>/photos & more/0.png")
    write_report(results, [Worst("<b>", "photos & more", [sample]), Worst("<b>", "other", [sample])], [], tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "<title>&lt;script&gt;</title>" in page and "<h1>&lt;script&gt;</h1>" in page
    assert "<h2>photos &amp; more</h2>" in page and "<td>&lt;b&gt;</td>" in page and "resize: &lt;none&gt;" in page
    assert page.count("<details>") == 2 and "Worst of &lt;b&gt;" in page and "The paper&#x27;s figures" in page
    assert 'src="worst/%3Cb%3E/photos%20%26%20more/0.png"' in page
    assert "&quot;cat&quot; &lt;1&gt;.png: 12.35 dB (left: original)" in page
    assert "<b>" not in page and "<script>" not in page and "http" not in page.replace('http-equiv="', "")
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.startswith("# <script>\n\n## photos & more\n\n| model | PSNR ↑ | bits/pixel | samples |\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "results.md"]


def test_codes_alone_have_a_table_and_no_plot(tmp_path):
    results = Results("Codes", [_result("a", bits_per_pixel=1.0, codebook={"usage": 0.5, "perplexity": 2.0})])
    write_report(results, [Worst("a", "photos & more", [])], [], tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "PSNR over bits" not in page and "Worst of" not in page and "0.500, 2.0" in page
