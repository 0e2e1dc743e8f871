"""What the embedded multimodal language model answers about drawn pictures and clips, as the demo shows it."""

from pathlib import Path

import numpy as np
import torch
from transformers.video_utils import VideoMetadata

from atoken.evaluation.answering import Medium, answer, load_answerer
from atoken.miniature.captions import full_caption
from atoken.miniature.questions import OPEN_QUESTIONS, MiniatureQuestions, Question, ask, is_right
from atoken.miniature.scenes import Scene
from atoken.pages import comparison
from atoken.processing.media_writing_atoken import write_image, write_video

from .errors import naming

PICTURES, CLIPS = 4, 2
# What the tiny model was trained on.
SIZE, FRAMES, FPS = 64, 8, 8.0
LONGEST_ANSWER = 24  # tokens; a caption has fewer


def show_answers(name: str, folder: Path, device: str) -> comparison.Row:
    """
    Writes scenes with combinations of color and shape that training left out into `folder`, and asks about them.

    Args:
        name: of the embedded model.
        folder: of the page.
        device: "cpu" or "cuda".

    Returns:
        A picture or clip for each scene, with questions and answers below it, right and wrong ones marked.

    Raises:
        FileNotFoundError, ValueError: the model cannot be loaded.
    """
    with naming(name):
        loaded = load_answerer(name, device)
    pictures, right, total = [], 0, 0
    for kind, count in (("image", PICTURES), ("video", CLIPS)):
        scenes = MiniatureQuestions(kind, "held_out", count, size=SIZE, frames=FRAMES, kinds=("open",))
        for index in range(count):
            item = scenes[index]
            medium, scene = item["media"][0], item["question"].scenes[0]
            facts = []
            for question in _questions(scene, index):
                given = answer(loaded, [_shown(kind, medium)], question.text, LONGEST_ANSWER).text
                correct = is_right(given, question.answer)
                right, total = right + correct, total + 1
                facts.append((question.text, f"✓ {given}" if correct else f"✗ {given or '-'} ({question.answer})"))
            files = _write(folder / f"{name}.{kind}-{index}", kind, medium)
            pictures.append(comparison.Picture(full_caption(scene), *files, facts))
    return comparison.Row(
        f"Questions answered by {name}", f"{right} of {total} right, about scenes that training left out", pictures
    )


def _questions(scene: Scene, index: int) -> list[Question]:
    """Asks for each attribute of a scene, and whether it is what it is or something else."""
    rng = np.random.default_rng(index)
    attributes = [about for about in OPEN_QUESTIONS if getattr(scene, about) is not None]
    open_questions = [ask(scene, "open", rng, "held_out", about) for about in attributes]
    return [*open_questions, ask(scene, "yes_no", rng, "held_out")]


def _shown(kind: str, medium: torch.Tensor) -> Medium:
    if kind == "image":
        return Medium(kind, medium)
    frames = list(range(len(medium)))
    metadata = VideoMetadata(total_num_frames=len(frames), fps=FPS, frames_indices=frames)
    return Medium(kind, medium.permute(0, 2, 3, 1), metadata)


def _write(base: Path, kind: str, medium: torch.Tensor) -> tuple[str, str | None]:
    """Writes a picture, or a clip and its poster, and gives their names."""
    frames = (medium if kind == "video" else medium[None]).permute(0, 2, 3, 1).numpy()
    still = base.with_name(f"{base.name}.png")
    write_image(still, frames[0])
    if kind == "image":
        return still.name, None
    clip = base.with_name(f"{base.name}.mp4")
    write_video(clip, frames, FPS, crf=12)
    return clip.name, still.name
