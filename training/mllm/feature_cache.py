"""Pooled features of media on disk: a frozen encoder sees every medium once, not once an epoch."""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaProcessor
from atoken.processing.atomic_files_atoken import atomic_file


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
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._fingerprint = fingerprint(model, processor)

    def file_of(self, path: str) -> Path:
        """Gives the file in which a medium's features are or will be."""
        status = Path(path).stat()
        key = json.dumps([str(Path(path).resolve()), status.st_size, status.st_mtime_ns, self._fingerprint])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"

    @torch.no_grad()
    def fill(
        self,
        paths: Iterable[tuple[str, str]],
        model: AtokenLlavaForConditionalGeneration,
        processor: AtokenLlavaProcessor,
        on_medium: Callable[[], None] = lambda: None,
    ) -> None:
        """
        Encodes the media that are not there yet.

        Args:
            paths: kind, "image" or "video", and file of each.
            model, processor: those of the cache.
            on_medium: called after each.
        """
        projector = model.model.multi_modal_projector
        for kind, path in paths:
            if not self.file_of(path).is_file():
                if kind == "image":
                    inputs = processor.image_processor(path, return_tensors="pt")
                    features = model.model.encode_features(inputs.pixel_values, inputs.image_grid_thw, None, None)
                    tensors = {"image": projector.pool_image(features[0][0])}
                else:
                    inputs = processor.video_processor([path], return_tensors="pt")
                    features = model.model.encode_features(
                        None, None, inputs.pixel_values_videos, inputs.video_grid_thw
                    )
                    tensors = dict(zip(("slow", "fast"), projector.pool_video(features[1][0]), strict=True))
                with atomic_file(self.file_of(path)) as temporary:
                    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, temporary)
            on_medium()

    def image(self, path: str) -> torch.Tensor:
        """Gives an image's pooled features; `FileNotFoundError` if `fill` has not seen it."""
        return load_file(self.file_of(path))["image"]

    def video(self, path: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives a video's slow and fast features; `FileNotFoundError` if `fill` has not seen it."""
        tensors = load_file(self.file_of(path))
        return tensors["slow"], tensors["fast"]


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
