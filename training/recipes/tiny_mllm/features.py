"""Pooled features of drawn media, each encoded once."""

from collections.abc import Iterable
from pathlib import Path

import torch

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from ...mllm.feature_cache import pooled_features
from ...mllm.packed_features import PackedFeatures

BATCH = 128  # media that are encoded together


class DrawnFeatures:
    """
    Holds the features of drawn media by their names.

    Args:
        folder: of `PackedFeatures`.
    """

    def __init__(self, folder: Path):
        self._packed = PackedFeatures(folder)

    def __contains__(self, name: str) -> bool:
        return name in self._packed

    def refresh(self) -> None:
        """Finds what other processes have stored."""
        self._packed.refresh()

    def image(self, path: str) -> torch.Tensor:
        """Gives (h, w, d) of a picture."""
        return self._packed.read(path, "image")[0]

    def video(self, path: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives (S, h, w, d) and (T, rows, columns, d) of a clip."""
        slow, fast = self._packed.read(path, "slow", "fast")
        return slow, fast

    def fill(
        self,
        media: Iterable[tuple[str, str, torch.Tensor]],
        model: AtokenLlavaForConditionalGeneration,
        processor: AtokenLlavaProcessor,
    ) -> None:
        """
        Encodes media of one kind.

        Args:
            media: name, "image" or "video", and uint8 RGB of each; drawn as they are taken.
            model, processor: with the encoder.
        """
        waiting: dict[str, tuple[str, torch.Tensor]] = {}
        for name, medium, pixels in media:
            waiting[name] = (medium, pixels)
            if len(waiting) == BATCH:
                self._encode(waiting, model, processor)
                waiting = {}
        if waiting:
            self._encode(waiting, model, processor)

    def _encode(self, waiting: dict[str, tuple[str, torch.Tensor]], model, processor) -> None:
        found: dict[str, dict[str, torch.Tensor]] = {}
        for medium in ("image", "video"):
            names = [name for name, (kind, _) in waiting.items() if kind == medium]
            pixels = [waiting[name][1] for name in names]
            if not names:
                continue
            if medium == "image":
                inputs = processor.image_processor(pixels, return_tensors="pt")
                made = pooled_features(model, (inputs.pixel_values, inputs.image_grid_thw), None)[0]
            else:
                inputs = processor.video_processor(pixels, return_tensors="pt")
                made = pooled_features(model, None, (inputs.pixel_values_videos, inputs.video_grid_thw))[1]
            found.update(zip(names, made, strict=True))
        self._packed.write(found)
