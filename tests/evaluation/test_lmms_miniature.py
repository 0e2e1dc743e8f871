"""The miniature questions as tasks of lmms-eval: files, media, and what is right."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from atoken.evaluation import lmms_miniature
from atoken.evaluation.lmms_miniature import (
    MiniatureTask,
    doc_to_text,
    doc_to_visual,
    miniature_tasks,
    process_results,
    write_group,
    write_task,
)
from atoken.miniature.questions import MiniatureQuestions
from atoken.processing.media_reading_atoken import open_image, read_video


class Loader(yaml.SafeLoader):
    """Reads `!function NAME` as its name."""


Loader.add_constructor("!function", lambda loader, node: f"function {loader.construct_scalar(node)}")


def test_every_kind_of_question_is_a_task():
    names = [task.name for task in miniature_tasks()]
    assert len(set(names)) == len(names) == 16
    assert {"miniature_image_open_position", "miniature_video_open_motion", "miniature_video_order"} <= set(names)


@pytest.mark.parametrize(
    "task", [MiniatureTask("image", "two_pictures", None), MiniatureTask("video", "open", "motion")]
)
def test_a_task_has_the_questions_and_the_pixels_of_the_data_set(task, tmp_path):
    write_task(task, tmp_path, 2)
    settings = yaml.load((tmp_path / f"{task.name}.yaml").read_text(), Loader)
    assert settings["task"] == task.name and settings["dataset_path"] == "json"
    for name in ("doc_to_visual", "doc_to_text", "process_results"):
        function = settings[name].removeprefix("function ")
        assert function == f"{lmms_miniature.__name__}.{name}" and callable(getattr(lmms_miniature, name))
    lines = open(settings["dataset_kwargs"]["data_files"]["test"]).read().splitlines()
    expected = MiniatureQuestions(task.medium, "held_out", 2, kinds=(task.kind,), about=task.about)
    for index, line in enumerate(lines):
        doc, item = json.loads(line), expected[index]
        assert doc_to_text(doc) == item["question"].text and doc["answer"] == item["question"].answer
        if task.medium == "image":
            shown = [open_image(path) for path in doc["media"]]
            assert [type(visual) for visual in doc_to_visual(doc)] == [Image.Image] * 2
        else:
            shown = [read_video(path)[0].permute(0, 3, 1, 2) for path in doc_to_visual(doc)]
        for pixels, medium in zip(shown, item["media"], strict=True):
            assert (pixels == medium).all()


def test_blind_media_are_gray(tmp_path):
    task = MiniatureTask("image", "open", "colour")
    write_task(task, tmp_path, 1, blind=True)
    (picture,) = doc_to_visual(json.loads((tmp_path / f"{task.name}.jsonl").read_text()))
    assert picture.getcolors() == [(64 * 64, (127, 127, 127))]


def test_right_and_wrong():
    doc = {"answer": "top left", "chance": 1 / 9}
    assert process_results(doc, [" Top Left\n"]) == {"exact_match": 1.0, "chance": 1 / 9}
    assert process_results(doc, ["top"])["exact_match"] == 0.0


def test_the_group_has_all_tasks(tmp_path):
    write_group(tmp_path)
    group = yaml.safe_load((tmp_path / "atoken_questions.yaml").read_text())
    assert group == {"group": "atoken_questions", "task": [task.name for task in miniature_tasks()]}
    # A folder of that name in the current folder would be taken for the task.
    assert not (Path(__file__).parents[2] / group["group"]).exists()
