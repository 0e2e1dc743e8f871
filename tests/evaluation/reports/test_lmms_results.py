"""Scores of lmms-eval: what is read of its files, where it stands beside the paper's, and what is refused."""

import copy
import json

import pytest
from typer.testing import CliRunner

from atoken.evaluation.lmms_page import main, write_answer_page
from atoken.evaluation.paper_tables import paper_columns
from atoken.evaluation.reports.lmms_results import PAPER_TASKS, read_lmms_results
from atoken.evaluation.results import Results

# As lmms-eval 0.7.3 writes them: names of scores end in the filter, and a version is stated for checkouts alone.
FILE = {
    "results": {
        "realworldqa": {
            "alias": "realworldqa",
            "exact_match,flexible-extract": 0.6013,
            "exact_match_stderr,none": 0.01,
        },
        "mlvu_dev": {"alias": "mlvu_dev", "mlvu_percetion_score,none": 64.7, "mlvu_percetion_score_stderr,none": "N/A"},
        "other": {"alias": "other", "bleu,none": 3.0},
        "miniature_image_open_colour": {"exact_match,none": 0.75, "chance,none": 0.125},
    },
    "configs": {"realworldqa": {"generation_kwargs": {"max_new_tokens": 16}}},
    "versions": {"realworldqa": 0.0},
    "n-samples": {"realworldqa": {"original": 765, "effective": 765}},
    "config": {"model": "atoken_llava", "model_args": "pretrained=runs/mllm-2/model,dtype=bfloat16", "limit": None},
    "lmms_eval_version": "unknown@unknown",
    "date": "2026-01-02_03-04-05",
}


def write(path, **changes):
    values = copy.deepcopy(FILE)
    for place, value in changes.items():
        *parts, last = place.split("__")
        part = values
        for name in parts:
            part = part[name]
        if value is None:
            del part[last]
        else:
            part[last] = value
    path.write_text(json.dumps(values))
    return path


def test_scores_become_percent_with_all_they_depend_on(tmp_path):
    first, second, third = read_lmms_results(write(tmp_path / "a_results.json"), "0.7.3")
    assert (first.model, first.set, first.kind) == ("model", "realworldqa", "image")
    assert first.numbers == {"accuracy": pytest.approx(60.13), "count": 765}
    assert first.protocol["lmms_eval"] == "0.7.3" and first.protocol["generation"] == {"max_new_tokens": 16}
    assert first.protocol["model_args"] == FILE["config"]["model_args"] and first.protocol["task_version"] == 0.0
    assert (second.set, second.kind, second.numbers["accuracy"]) == ("mlvu_dev", "video", 64.7)
    assert third.numbers == {"accuracy": 75.0, "chance_percent": 12.5}
    stated = write(tmp_path / "b_results.json", lmms_eval_version="main@1234abcd")
    assert read_lmms_results(stated)[0].protocol["lmms_eval"] == "main@1234abcd"


def test_tasks_are_the_columns_of_the_papers_tables():
    for number, tasks in PAPER_TASKS.items():
        assert [task.dataset for task in tasks] == [column.dataset for column in paper_columns(number)]
    assert sum(map(len, PAPER_TASKS.values())) == 13


def test_the_page_has_the_papers_rows_below(tmp_path):
    limited = write(tmp_path / "l_results.json", config__limit=8, config__model_args="pretrained=<tiny>")
    results = read_lmms_results(write(tmp_path / "a_results.json"), "0.7.3") + read_lmms_results(limited, "0.7.3")
    write_answer_page(results, tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert "| model | RW-QA | AI2D | SQA | MMMU | MathVista | OCRBench | TextVQA |" in text
    assert "| model | 60.1 | - | - | - | - | - | - |" in text
    assert "| <tiny> (only 8 of each task) | 60.1 | - |" in text
    assert "| SlowFast-LLaVA-1.5-7B, AToken-So/C (paper) | 68.8 | 81.2 | 92.1 | 48.7 | 61.2 | 74.5 | 77.7 |" in text
    assert "| SlowFast-LLaVA-1.5-1B, AToken-So/C (paper) | 56.7 | 63.9 | 74.8 | 55.1 | 64.7 | 41.1 |" in text
    assert "| image open colour | model | 75.0 | 12.5 |  |" in text and "lmms-eval 0.7.3" in text
    page = (tmp_path / "index.html").read_text()
    assert "&lt;tiny&gt;" in page and "<tiny>" not in page and "2026-01-02_03-04-05" in page
    assert Results.read(tmp_path / "results.json").results == results


BAD = {
    "no version": ({}, None, "version must be given"),
    "no results": ({"results": None}, "1", "results and config"),
    "no model": ({"config__model": None}, "1", "must state the model"),
    "results that are a list": ({"results": [1]}, "1", "results and config"),
    "a task that is a number": ({"results__realworldqa": 3}, "1", "a mapping of scores"),
    "no task that we know": ({"results": {"other": {"bleu,none": 1.0}}}, "1", "scores of the paper's tasks"),
    "another score": ({"results__realworldqa": {"bleu,none": 0.1}}, "1", "must have one number exact_match"),
    "a score in two filters": (
        {"results__realworldqa": {"exact_match,a": 0.1, "exact_match,b": 0.2}},
        "1",
        "must have one number exact_match",
    ),
    "a score that is a text": ({"results__realworldqa": {"exact_match,none": "N/A"}}, "1", "must have one number"),
    "a score that is no number": ({"results__realworldqa": {"exact_match,none": float("nan")}}, "1", "finite"),
    "percent where shares are": ({"results__realworldqa": {"exact_match,none": 60.1}}, "1", "from 0 to 1, got 60.1"),
    "no chance": ({"results__miniature_image_open_colour": {"exact_match,none": 0.5}}, "1", "one number chance"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name, tmp_path):
    changes, version, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read_lmms_results(write(tmp_path / "bad_results.json", **changes), version)


def test_what_is_no_file_and_no_json(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_lmms_results(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(ValueError, match="which is no JSON"):
        read_lmms_results(tmp_path / "text.json")


def test_the_script(tmp_path):
    import typer

    app = typer.Typer()
    app.command()(main)
    (tmp_path / "scores/model").mkdir(parents=True)
    output = str(tmp_path / "page")
    nothing = CliRunner().invoke(app, [str(tmp_path / "scores"), "--output", output])
    assert nothing.exit_code == 2 and not (tmp_path / "page").exists()
    write(tmp_path / "scores/model/2026_results.json")
    refused = CliRunner().invoke(app, [str(tmp_path / "scores"), "--output", output])
    assert refused.exit_code == 2 and not (tmp_path / "page").exists()
    done = CliRunner().invoke(app, [str(tmp_path / "scores"), "--output", output, "--lmms-eval", "0.7.3"])
    assert done.exit_code == 0 and "60.1" in done.stdout and (tmp_path / "page/index.html").is_file()
