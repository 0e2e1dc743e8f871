"""The miniature questions as tasks of lmms-eval: media, JSON lines and YAML files, for runs without network.

    python -m atoken.evaluation.lmms_miniature FOLDER --questions 512
    lmms/bin/python -m lmms_eval --model atoken_llava --model_args pretrained=MODEL --include_path FOLDER \\
        --tasks atoken_questions --output_path SCORES

The functions that the YAML files name are those of this file. See docs/mllm.md for the environment of lmms-eval.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from PIL import Image
from rich.progress import track

from atoken.miniature.questions import QUESTION_KINDS, MiniatureQuestions, is_right
from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.media_writing_atoken import write_image, write_video

# lmms-eval takes a name for a folder if there is one of that name, such as miniature/ here.
GROUP, PREFIX, MODULE = "atoken_questions", "miniature", "atoken.evaluation.lmms_miniature"
FPS = 8.0
# Attributes that open questions ask for; letters ask for any of them.
ATTRIBUTES = {
    "image": ("colour", "shape", "material", "position"),
    "video": ("colour", "shape", "material", "motion"),
}
LONGEST_ANSWER = 24  # tokens


@dataclass(frozen=True)
class MiniatureTask:
    """Holds what a task asks: the medium, the kind of question, and the attribute that open questions are about."""

    medium: str
    kind: str
    about: str | None

    @property
    def name(self) -> str:
        """Gives the name of the task in lmms-eval."""
        return "_".join((PREFIX, self.medium, self.kind, *([self.about] if self.about else [])))


def miniature_tasks() -> list[MiniatureTask]:
    """Lists a task for every attribute that open questions ask for, and one for every other kind of question."""
    tasks = []
    for medium, kinds in QUESTION_KINDS.items():
        for kind in kinds:
            abouts = ATTRIBUTES[medium] if kind == "open" else (None,)
            tasks += [MiniatureTask(medium, kind, about) for about in abouts]
    return tasks


def write_task(
    task: MiniatureTask, folder: Path, questions: int, size: int = 64, frames: int = 8, blind: bool = False
) -> None:
    """
    Writes a task: its media, lossless, `NAME.jsonl` and `NAME.yaml`.

    Args:
        task: what is asked.
        folder: an existing folder.
        questions: how many, about scenes with combinations of color and shape that training leaves out.
        size, frames: of the media, in pixels of a side and in number.
        blind: whether all media are plain gray, which tells what can be answered without looking.

    Raises:
        ValueError: a number that cannot be.
    """
    drawn = MiniatureQuestions(
        task.medium,
        "held_out",
        questions,
        size=size,
        frames=frames,
        kinds=(task.kind,),
        about=task.about,
        blind=blind,
    )
    media = folder / task.name
    media.mkdir(exist_ok=True)
    rows = []
    for index in range(questions):
        item = drawn[index]
        question = item["question"]
        files = []
        for number, medium in enumerate(item["media"]):
            path = (media / f"{index:05d}-{number}.{'png' if task.medium == 'image' else 'mkv'}").resolve()
            if task.medium == "image":
                write_image(path, medium.permute(1, 2, 0).numpy())
            else:
                write_video(path, medium.permute(0, 2, 3, 1).numpy(), FPS, codec="libx264rgb", crf=0)
            files.append(str(path))
        rows.append(
            {
                "medium": task.medium,
                "media": files,
                "question": question.text,
                "answer": question.answer,
                "chance": question.chance,
            }
        )
    lines = (folder / f"{task.name}.jsonl").resolve()
    with atomic_file(lines) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with atomic_file(folder / f"{task.name}.yaml") as temporary:
        temporary.write_text(_yaml(task, lines), encoding="utf-8")


def write_group(folder: Path) -> None:
    """Writes the YAML file of the group `atoken_questions`, which has all tasks."""
    group = {"group": GROUP, "task": [task.name for task in miniature_tasks()]}
    with atomic_file(folder / f"{GROUP}.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(group, sort_keys=False), encoding="utf-8")


def _yaml(task: MiniatureTask, lines: Path) -> str:
    settings: dict[str, Any] = {
        "task": task.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(lines)}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_target": "answer",
        "generation_kwargs": {"max_new_tokens": LONGEST_ANSWER, "temperature": 0, "do_sample": False},
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("exact_match", "chance")
        ],
        "metadata": {"version": 1.0},
    }
    functions = {name: f"{MODULE}.{name}" for name in ("doc_to_visual", "doc_to_text", "process_results")}
    # Tags such as !function are not of plain YAML.
    return yaml.safe_dump(settings, sort_keys=False) + "".join(
        f"{name}: !function {function}\n" for name, function in functions.items()
    )


def doc_to_visual(doc: dict[str, Any]) -> list[Any]:
    """Gives the pictures of a question, or the path of its clip, as lmms-eval takes them."""
    if doc["medium"] == "video":
        return list(doc["media"])
    return [Image.open(path).convert("RGB") for path in doc["media"]]


def doc_to_text(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any] | None = None) -> str:
    """Gives the text of a question."""
    return doc["question"]


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Tells whether an answer is right, and how often guessing would be."""
    return {"exact_match": float(is_right(results[0], doc["answer"])), "chance": float(doc["chance"])}


def main(
    folder: Annotated[Path, typer.Argument(help="Folder for the tasks and their media; created if missing.")],
    questions: Annotated[int, typer.Option(min=1, help="Questions of each task.")] = 512,
    size: Annotated[int, typer.Option(help="Pixels of a side.")] = 64,
    frames: Annotated[int, typer.Option(help="Frames of a clip.")] = 8,
    blind: Annotated[bool, typer.Option("--blind", help="Show plain gray in place of the scenes.")] = False,
) -> None:
    """Write the miniature questions as tasks of lmms-eval."""
    folder.mkdir(parents=True, exist_ok=True)
    for task in track(miniature_tasks(), description="drawing"):
        write_task(task, folder, questions, size, frames, blind)
    write_group(folder)


if __name__ == "__main__":
    typer.run(main)
