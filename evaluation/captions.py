"""Images and videos that are made of captions: how well they fit them, and the files that they become."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from atoken.processing.atomic_files_atoken import atomic_file
from atoken.processing.media_writing_atoken import write_image, write_video

from .chunks import Chunks, Results
from .fingerprints import network_fingerprint
from .interface import CaptionGenerator, EvaluationSet, MediaTokenizer, Reconstructions, Sample
from .metrics.motion_judge import FRAMES, SIZE
from .metrics.prompt_scores import CLIP_SCORE, PICK_SCORE, PromptScore
from .metrics.scene_judges import SceneJudges, load_scene_judges
from .metrics.scene_words import ZeroShotWords, chances, rights
from .models.atoken_tokenizers import AtokenEmbedder
from .reconstruction import round_trips
from .sample_files import file_names

WORDS_RIGHT, WORDS_ZERO_SHOT = "words-right", "words-zero-shot"
CAPTION_MEASURES = (CLIP_SCORE, PICK_SCORE, WORDS_RIGHT, WORDS_ZERO_SHOT)
EMBEDDER = "atoken-tiny"  # of zero-shot words, unless weights say another
MADE = "made"  # folder of what is made
CUT = "captions_cut"
# Measure of words -> before the names of its numbers.
WORD_PREFIXES = {WORDS_RIGHT: "right_", WORDS_ZERO_SHOT: "zero_shot_"}
_SUFFIXES = {"image": ".png", "video": ".mp4"}


class CaptionMeasures:
    """
    Holds the measures of media against captions that were asked for, with their networks.

    Args:
        names: some of `CAPTION_MEASURES`; others are passed over.
        weights: folders or names of models by measure, instead of the usual ones.
        device: where the networks of scores run.

    Raises:
        FileNotFoundError: a network is missing; nothing has been measured then.
        ValueError: a model is of another kind.
    """

    def __init__(self, names: Sequence[str], weights: dict[str, str], device: str = "cpu"):
        self.names = tuple(name for name in CAPTION_MEASURES if name in names)
        self.scores = {
            name: PromptScore(name, weights.get(name), device) for name in (CLIP_SCORE, PICK_SCORE) if name in names
        }
        self.judges: SceneJudges | None = load_scene_judges() if WORDS_RIGHT in names else None
        self.embedder, self.zero_shot = None, None
        if WORDS_ZERO_SHOT in names:
            self.embedder = AtokenEmbedder(weights.get(WORDS_ZERO_SHOT, EMBEDDER), device, video="whole")
            self.zero_shot = ZeroShotWords(self.embedder)

    def describe(self) -> dict[str, Any]:
        """Gives what the numbers depend on, JSON-ready, by measure."""
        facts: dict[str, Any] = {
            name: {"model": score.path, "scale": score.scale, "clips": "mean over frames"}
            for name, score in self.scores.items()
        }
        if self.judges is not None:
            facts[WORDS_RIGHT] = "networks trained on true scenes of the miniature world"
        if self.embedder is not None:
            facts[WORDS_ZERO_SHOT] = self.embedder.describe()
        return facts

    def fingerprints(self) -> dict[str, str]:
        """Gives digests of the networks' weights."""
        found = {name: network_fingerprint(score.network) for name, score in self.scores.items()}
        if self.judges is not None:
            parts = {"pictures": self.judges.pictures, "clips": self.judges.clips, "motion": self.judges.motion}
            found |= {f"{WORDS_RIGHT} {name}": network_fingerprint(network) for name, network in parts.items()}
        if self.embedder is not None:
            found |= {f"{WORDS_ZERO_SHOT} {name}": value for name, value in self.embedder.fingerprints().items()}
        return found

    def fitting(self, samples: EvaluationSet) -> tuple[str, ...]:
        """Lists the measures that a set can be measured by: words only where its samples say what they show."""
        shows = all(sample.shows for sample in samples.samples)
        return tuple(name for name in self.names if shows or name not in WORD_PREFIXES)

    def of(self, media: torch.Tensor, sample: Sample, kind: str) -> dict[str, float]:
        """
        Measures one image or video (T, 3, H, W) uint8 against its caption.

        Raises:
            ValueError: it is of another size or length than the networks of words know.
        """
        caption, numbers = sample.captions[0], {}
        for name, score in self.scores.items():
            numbers[name.replace("-", "_")] = float(score([media], [caption])[0])
            numbers[CUT] = max(numbers.get(CUT, 0.0), float(score.is_cut(caption)))
        if not sample.shows:
            return numbers
        told = {}
        if self.judges is not None:
            if media.shape[-2:] != (SIZE, SIZE) or len(media) != (1 if kind == "image" else FRAMES):
                frames, _, height, width = media.shape
                raise ValueError(
                    f"{WORDS_RIGHT} must have pictures of {SIZE} x {SIZE} and clips of {FRAMES} frames, got "
                    f"{frames} of {width} x {height} for {sample.name}; leave it out of measures, or change the "
                    "generator's settings or the set's frames"
                )
            told[WORDS_RIGHT] = self.judges.judged(media[None].numpy())
        if self.zero_shot is not None:
            told[WORDS_ZERO_SHOT] = self.zero_shot.told([media], kind)
        for name, numbers_of_words in told.items():
            right = rights([sample.shows], numbers_of_words)
            numbers |= {f"{WORD_PREFIXES[name]}{what}": float(value[0]) for what, value in right.items()}
        return numbers


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
    for trip in round_trips(model, samples, indices):
        if trip.result is None:
            raise ValueError(f"tokenizers on captions must decode, got {model.name}, which does not")
        yield trip.result


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
