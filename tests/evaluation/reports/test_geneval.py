"""GenEval's file: its summary by another route (pandas, as GenEval's own script groups), and what is refused."""

import hashlib
import json

import numpy as np
import pandas
import pytest

from atoken.evaluation.reports.geneval import DETECTOR, TAGS, read_geneval


def lines(prompts: dict[str, int], images: int = 4) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "filename": f"images/{tag}{prompt:03d}/samples/{image:04d}.png",
            "tag": tag,
            "prompt": f"{tag} number {prompt}",
            "correct": bool(rng.random() < 0.1 + 0.1 * place),
            "reason": "",
            "metadata": json.dumps({"tag": tag, "number": prompt}),
            "details": "{}",
        }
        for place, (tag, count) in enumerate(prompts.items())
        for prompt in range(count)
        for image in range(images)
    ]


def write(path, entries):
    # As GenEval's evaluate_images.py does.
    with open(path, "w") as file:
        pandas.DataFrame(entries).to_json(file, orient="records", lines=True)
    return str(path)


def test_the_score_is_the_mean_over_tasks(tmp_path):
    path = write(tmp_path / "results.jsonl", lines(TAGS))
    (result,) = read_geneval(path, "d927da8", describe={"seed": 0})
    table = pandas.read_json(path, orient="records", lines=True)
    tasks = {tag: part["correct"].mean() for tag, part in table.groupby("tag", sort=False)}
    assert result.numbers["geneval"] == pytest.approx(np.mean(list(tasks.values())), abs=1e-12)
    assert {tag: result.numbers[f"geneval_{tag}"] for tag in TAGS} == pytest.approx(tasks)
    assert result.numbers["prompts"] == 553 and result.numbers["count"] == 2212 and sum(TAGS.values()) == 553
    digest = hashlib.sha256((tmp_path / "results.jsonl").read_bytes()).hexdigest()
    assert result.protocol == {
        "source": "GenEval",
        "version": "d927da8",
        "detector": DETECTOR,
        "incomplete": [],
        "files": {"results.jsonl": digest},
        "described": {"seed": 0},
    }


def test_a_part_has_no_score_and_says_what_it_lacks(tmp_path):
    path = write(tmp_path / "results.jsonl", lines({"counting": 3, "colors": 94}, images=4))
    (result,) = read_geneval(path, "d927da8")
    assert "geneval" not in result.numbers and set(result.numbers) == {
        "geneval_counting",
        "geneval_colors",
        "prompts",
        "count",
    }
    assert "counting: 3 of 80 prompts" in result.protocol["incomplete"] and len(result.protocol["incomplete"]) == 5
    few = write(tmp_path / "few.jsonl", lines(TAGS, images=1))
    assert "position: not 4 images of every prompt" in read_geneval(few, "d927da8")[0].protocol["incomplete"]


def test_another_detector_has_another_name(tmp_path):
    path = write(tmp_path / "results.jsonl", lines({"counting": 2}))
    (result,) = read_geneval(path, "mine", detector="transformers Mask2Former")
    assert result.set == "GenEval with transformers Mask2Former"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"tag": "speed"}, "a tag of single_object.*line 3.*'speed'"),
        ({"prompt": None}, "filename, prompt and a tag"),
        ({"correct": "yes"}, "whether it is correct, got 'yes' in .*line 3"),
        ({"correct": 1}, "whether it is correct"),
        ({"filename": "images/counting000/samples/0000.png"}, "every image once"),
    ],
)
def test_wrong_lines_are_named(tmp_path, change, match):
    entries = lines({"counting": 1})
    entries[2] |= change
    path = tmp_path / "results.jsonl"
    path.write_text("\n".join(map(json.dumps, entries)))
    with pytest.raises(ValueError, match=match):
        read_geneval(str(path), "d927da8")


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "a line for each image"), ("[1]", "got a list"), ("no json", "which is no JSON"), ("é", "no text in UTF-8")],
)
def test_other_files_are_refused(tmp_path, text, match):
    (tmp_path / "results.jsonl").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=match):
        read_geneval(str(tmp_path / "results.jsonl"), "d927da8")


def test_what_the_file_does_not_say_has_to_be_said(tmp_path):
    path = write(tmp_path / "results.jsonl", lines({"counting": 1}))
    for given in ({"version": ""}, {"version": None}, {"version": "d927da8", "detector": " "}):
        with pytest.raises(ValueError, match="must be a text, as the file does not state it"):
            read_geneval(path, **given)  # pyright: ignore[reportArgumentType]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_geneval(str(tmp_path / "nowhere.jsonl"), "d927da8")
