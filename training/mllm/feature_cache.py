"""Pooled features of media files on disk: a frozen encoder sees every medium once, not once an epoch."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor

from .packed_features import PackedFeatures

Pooled = tuple[torch.Tensor, torch.Tensor]


class FeatureCache:
    """
    Stores what the projector's `pool_image` and `pool_video` give for files.

    Features are found by the file (path, size, time of its last change) and by what makes them: the encoder's weights,
    the way of pooling and the processor's settings. Another model finds none of them.

    Args:
        folder: where to keep them; it is created.
        model: whose encoder and pooling are used.
        processor: which prepares media.

    Raises:
        ValueError: if the model pools after the projector, which is trained.
    """

    def __init__(self, folder: Path, model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor):
        if model.config.pool_after_projector:
            raise ValueError("model must pool before the projector to cache features, got pool_after_projector=True")
        self._fingerprint = fingerprint(model, processor)
        self._packed = PackedFeatures(folder)

    def key_of(self, path: str) -> str:
        """Gives the name under which a medium's features are or will be stored."""
        status = Path(path).stat()
        key = json.dumps([str(Path(path).resolve()), status.st_size, status.st_mtime_ns, self._fingerprint])
        return hashlib.sha256(key.encode()).hexdigest()

    @torch.no_grad()
    def fill(
        self,
        paths: Iterable[tuple[str, str]],
        model: AtokenLlavaForConditionalGeneration,
        processor: AtokenLlavaProcessor,
        on_medium: Callable[[], Any] = lambda: None,
    ) -> None:
        """
        Encodes the media that are not there yet, about `vision_batch_tokens` patches of the model at a time.

        Args:
            paths: kind, "image" or "video", and file of each.
            model, processor: those of the cache.
            on_medium: called for each as soon as it is stored.
        """
        waiting: dict[str, tuple[str, Any]] = {}  # key -> kind and inputs of the media that are encoded together
        patches = 0
        for kind, path in paths:
            key = self.key_of(path)
            if key in self._packed or key in waiting:
                on_medium()
                continue
            if kind == "image":
                inputs = processor.image_processor(path, return_tensors="pt")
                waiting[key] = (kind, (inputs.pixel_values, inputs.image_grid_thw))
            else:
                inputs = processor.video_processor([path], return_tensors="pt")
                waiting[key] = (kind, (inputs.pixel_values_videos, inputs.video_grid_thw))
            patches += len(waiting[key][1][0])
            if patches >= model.config.vision_batch_tokens:
                self._encode(waiting, model, on_medium)
                waiting, patches = {}, 0
        if waiting:
            self._encode(waiting, model, on_medium)

    def refresh(self) -> None:
        """Finds what other processes have stored."""
        self._packed.refresh()

    def image(self, path: str) -> torch.Tensor:
        """Gives an image's pooled features; `KeyError` if `fill` has not seen it."""
        return self._packed.read(self.key_of(path), "image")[0]

    def video(self, path: str) -> Pooled:
        """Gives a video's slow and fast features; `KeyError` if `fill` has not seen it."""
        slow, fast = self._packed.read(self.key_of(path), "slow", "fast")
        return slow, fast

    def _encode(self, waiting: dict[str, tuple[str, Any]], model, on_medium: Callable[[], Any]) -> None:
        kinds = {kind: [inputs for each, inputs in waiting.values() if each == kind] for kind in ("image", "video")}
        images, videos = pooled_features(model, *(_joined(kinds[kind]) for kind in ("image", "video")))
        pooled = {"image": iter(images), "video": iter(videos)}
        self._packed.write({key: next(pooled[kind]) for key, (kind, _) in waiting.items()})
        for _ in waiting:
            on_medium()


@torch.no_grad()
def pooled_features(
    model: AtokenLlavaForConditionalGeneration,
    images: tuple[torch.Tensor, torch.Tensor] | None,
    videos: tuple[torch.Tensor, torch.Tensor] | None,
) -> tuple[list[dict[str, torch.Tensor]], list[dict[str, torch.Tensor]]]:
    """
    Encodes media and pools their features as the projector does.

    Args:
        images: `pixel_values` and `image_grid_thw` of the model, or None.
        videos: `pixel_values_videos` and `video_grid_thw`, or None.

    Returns:
        "image" (h, w, d) of each image; "slow" (S, h, w, d) and "fast" (T, rows, columns, d) of each video.
    """
    projector = model.model.multi_modal_projector
    of_images, of_videos = model.model.encode_features(*(images or (None, None)), *(videos or (None, None)))
    return (
        [{"image": projector.pool_image(features)} for features in of_images],
        [dict(zip(("slow", "fast"), projector.pool_video(features), strict=True)) for features in of_videos],
    )


def _joined(inputs: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Gives the patches and grids of several media one after another."""
    if not inputs:
        return None
    pixels, grids = zip(*inputs, strict=True)
    return torch.cat(pixels), torch.cat(grids)


def fingerprint(model: AtokenLlavaForConditionalGeneration, processor: AtokenLlavaProcessor) -> str:
    """Gives a checksum of all that decides what features a file has."""
    checksum = hashlib.sha256()
    config = model.config
    settings = [config.token_counts.__dict__, config.vision_feature_layer, config.video_input]
    settings += [processor.image_processor.to_dict(), processor.video_processor.to_dict()]
    checksum.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.model.vision_tower.state_dict().items()):
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return checksum.hexdigest()
