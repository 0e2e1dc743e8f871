"""Images and videos that are made of captions: how well they fit them, and the files that they become."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.media_writing_atoken import write_image, write_video

from .caption_measures import CUT, WORD_PREFIXES, CaptionMeasures
from .chunks import Chunks, Results
from .interface import CaptionGenerator, EvaluationSet, MediaTokenizer, Reconstructions
from .metrics.scene_words import chances
from .reconstruction import round_trips
from .sample_files import file_names

MADE = "made"  # folder of what is made
_SUFFIXES = {"image": ".png", "video": ".mp4"}


def media_names(samples: EvaluationSet) -> list[str]:
    """Gives the name of what is made of each caption, without a suffix; relative, with forward slashes."""
    # A caption can be a name, and what follows its last dot is no suffix.
    return file_names(samples) if samples.has_media else [sample.name for sample in samples.samples]


def made_path(folder: Path, name: str, kind: str) -> Path:
    """Gives the file of an image or a video."""
    return folder / f"{name}{_SUFFIXES[kind]}"


def measure_captions(
    model: CaptionGenerator | MediaTokenizer | Reconstructions,
    samples: EvaluationSet,
    indices: range,
    measures: CaptionMeasures,
    folder: Path,
) -> Results:
    """
    Makes images or videos of captions, measures them as they come, and writes them.

    Args:
        model: what makes them; a tokenizer gives the set's own media back.
        samples: the set.
        indices: of some samples.
        measures: those that were asked for.
        folder: for the files: .png, and .mp4 whose colors are compressed after they were measured.

    Returns:
        A record of each, and no tensors.
    """
    names, records = media_names(samples), []
    for index, media in zip(indices, _media(model, samples, indices), strict=True):
        sample, path = samples.samples[index], made_path(folder, names[index], samples.kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = media.permute(0, 2, 3, 1).contiguous().numpy()  # (T, H, W, 3)
        if samples.kind == "image":
            write_image(path, pixels[0])
        else:
            write_video(path, pixels, samples.fps)
        records.append({"name": sample.name, **measures.of(media, sample, samples.kind)})
    return records, {}


def write_companions(samples: EvaluationSet, folder: Path) -> None:
    """Writes the files that belong beside what is made."""
    for name, text in samples.companions.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _media(
    model: CaptionGenerator | MediaTokenizer | Reconstructions, samples: EvaluationSet, indices: Sequence[int]
) -> Iterator[torch.Tensor]:
    if isinstance(model, CaptionGenerator):
        yield from model.make(samples, indices)
        return
    # The plan has none on captions that does not decode.
    yield from (cast(torch.Tensor, trip.result) for trip in round_trips(model, samples, indices))


def summarize_captions(chunks: Chunks, samples: EvaluationSet) -> dict[str, Any]:
    """
    Computes the means over samples.

    Returns:
        "count"; "clip_score", "pick_score"; "right_color", "zero_shot_color" and so on, shares that are right;
        "chances", what guessing has of these; "captions_cut", how many captions were too long for a score, if any.
    """
    records = [record for found, _ in chunks for record in found]
    numbers: dict[str, Any] = {}
    for name in records[0]:
        if name not in ("name", CUT):
            numbers[name] = sum(record[name] for record in records) / len(records)
    if any(name.startswith(tuple(WORD_PREFIXES.values())) for name in numbers):
        numbers["chances"] = chances(samples.kind)
    cut = sum(record.get(CUT, 0) for record in records)
    return {**numbers, **({CUT: int(cut)} if cut else {}), "count": len(records)}
