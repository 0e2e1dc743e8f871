"""How well what is made of captions fits them: scores by CLIP, and words of the miniature world that are right."""

from collections.abc import Sequence
from typing import Any

import torch

from .fingerprints import network_fingerprint
from .interface import EvaluationSet, Sample
from .metrics.prompt_scores import CLIP_SCORE, PICK_SCORE, PromptScore
from .metrics.scene_judges import SceneJudges, load_scene_judges
from .metrics.scene_words import ZeroShotWords, rights
from .models.atoken_tokenizers import AtokenEmbedder

WORDS_RIGHT, WORDS_ZERO_SHOT = "words-right", "words-zero-shot"
CAPTION_MEASURES = (CLIP_SCORE, PICK_SCORE, WORDS_RIGHT, WORDS_ZERO_SHOT)
EMBEDDER = "atoken-tiny"  # of zero-shot words, unless weights say another
CUT = "captions_cut"
# Measure of words -> before the names of its numbers.
WORD_PREFIXES = {WORDS_RIGHT: "right_", WORDS_ZERO_SHOT: "zero_shot_"}


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
            try:
                told[WORDS_RIGHT] = self.judges.judged(media[None].numpy(), kind)
            except ValueError as error:
                raise ValueError(
                    f"{WORDS_RIGHT}: {sample.name}: {error}; leave it out of measures, or change the generator's "
                    "settings or the set's frames"
                ) from error
        if self.zero_shot is not None:
            told[WORDS_ZERO_SHOT] = self.zero_shot.told([media], kind)
        for name, numbers_of_words in told.items():
            right = rights([sample.shows], numbers_of_words)
            numbers |= {f"{WORD_PREFIXES[name]}{what}": float(value[0]) for what, value in right.items()}
        return numbers
