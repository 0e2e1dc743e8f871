"""From the encoder's features to tokens of the language model: SlowFast pooling, projection, learned vectors."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .remote_code_atoken import bind_to_package
from .token_counts_llava_atoken import pooled_sides


class AtokenLlavaMultiModalProjector(nn.Module):
    """
    Projects features of images and videos (paper, section 5.1; SlowFast-LLaVA-1.5).

    An image gives its rows of tokens, each followed by a learned newline. A video gives the slow path, a few frames in
    detail, a learned separator, and the fast path, all frames in few tokens.

    Args:
        vision_dim: width of the features.
        text_dim: width d of the language model.
        image_pool_stride: patches along each side of an image that are averaged to one.
        slow_frames: frames of the slow path, at most.
        slow_stride: patches along each side of a slow frame that are averaged to one.
        fast_grid: rows and columns to which each frame is averaged in the fast path.
        pool_after_projector: whether features are projected before they are averaged, which costs more and does not
            allow pooled features to be stored.
    """

    def __init__(
        self,
        vision_dim: int,
        text_dim: int,
        image_pool_stride: int = 1,
        slow_frames: int = 32,
        slow_stride: int = 2,
        fast_grid: tuple[int, int] = (4, 4),
        pool_after_projector: bool = False,
    ):
        super().__init__()
        self.image_pool_stride, self.slow_frames, self.slow_stride = image_pool_stride, slow_frames, slow_stride
        self.fast_grid = tuple(fast_grid)
        self.pool_after_projector = pool_after_projector
        self.linear_1 = nn.Linear(vision_dim, text_dim)
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(text_dim, text_dim)
        self.image_newline = nn.Parameter(torch.randn(text_dim) * text_dim**-0.5)
        self.slow_fast_separator = nn.Parameter(torch.randn(text_dim) * text_dim**-0.5)

    def image_tokens(self, features: torch.Tensor) -> torch.Tensor:
        """
        Gives the tokens (n, text_dim) of an image's features (h, w, vision_dim), row by row with newlines.

        Raises:
            ValueError: if `image_pool_stride` does not divide h and w.
        """
        return self([features], [])[0][0]

    def video_tokens(self, features: torch.Tensor) -> torch.Tensor:
        """
        Gives the tokens (n, text_dim) of a video's features (T, h, w, vision_dim): slow, separator, fast.

        Raises:
            ValueError: if `slow_stride` does not divide h and w.
        """
        return self([], [features])[1][0]

    def forward(
        self, images: Sequence[torch.Tensor], videos: Sequence[Any], pooled: bool = False
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """
        Gives the tokens of several images (h, w, vision_dim) and videos (T, h, w, vision_dim), projected in one batch.

        Args:
            images, videos: features, or with `pooled` what `pool_image` and `pool_video` made of them.
            pooled: whether they are averaged already.

        Returns:
            One (n, text_dim) tensor for each image and for each video.
        """
        if pooled:
            return self.pooled_tokens(images, videos)
        if self.pool_after_projector:
            projected = self.project([*images, *videos])
            pooled_images = [self.pool_image(each) for each in projected[: len(images)]]
            pooled_videos = [self.pool_video(each) for each in projected[len(images) :]]
            return self._join(pooled_images, pooled_videos)
        return self.pooled_tokens(
            [self.pool_image(each) for each in images], [self.pool_video(each) for each in videos]
        )

    def pooled_tokens(
        self, images: Sequence[torch.Tensor], videos: Sequence[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """
        Gives the tokens of features that `pool_image` and `pool_video` have made, now or in an earlier run.

        Raises:
            ValueError: with `pool_after_projector`, for which there are no such features.
        """
        if self.pool_after_projector:
            raise ValueError("pool_after_projector must be False for pooled features, got True")
        projected = self.project([*images, *(part for video in videos for part in video)])
        parts = iter(projected[len(images) :])
        return self._join(projected[: len(images)], list(zip(parts, parts, strict=True)))

    def pool_image(self, features: torch.Tensor) -> torch.Tensor:
        """Averages (h, w, c) to (h / image_pool_stride, w / image_pool_stride, c)."""
        return _average(features[None], self.image_pool_stride, "image_pool_stride")[0]

    def pool_video(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Averages (T, h, w, c) to slow (S, h / slow_stride, w / slow_stride, c) and fast (T, rows, columns, c)."""
        frames = len(features)
        count = min(self.slow_frames, frames)
        index = torch.arange(count, device=features.device) * frames // count
        slow = _average(features[index], self.slow_stride, "slow_stride")
        fast = F.adaptive_avg_pool2d(features.permute(0, 3, 1, 2), self.fast_grid).permute(0, 2, 3, 1)
        return slow, fast

    def project(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Projects tensors (..., vision_dim) to (..., text_dim), all in one batch."""
        if not features:
            return []
        rows = torch.cat([each.reshape(-1, each.shape[-1]) for each in features]).to(self.linear_1.weight.dtype)
        rows = self.linear_2(self.act(self.linear_1(rows)))
        if self.training:
            # Processes that share weights or gradients wait for each other at each of them, so that every batch has to
            # depend on both vectors, also one without images or without videos.
            rows = rows + 0.0 * (self.image_newline.sum() + self.slow_fast_separator.sum())
        split = rows.split([each[..., 0].numel() for each in features])
        return [part.reshape(*each.shape[:-1], -1) for part, each in zip(split, features, strict=True)]

    def _join(self, images, videos) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        joined = [
            torch.cat([image, self.image_newline.expand(len(image), 1, -1)], dim=1).flatten(0, 1) for image in images
        ]
        separator = self.slow_fast_separator[None]
        return joined, [torch.cat([slow.flatten(0, 2), separator, fast.flatten(0, 2)]) for slow, fast in videos]


def _average(features: torch.Tensor, stride: int, name: str) -> torch.Tensor:
    """Averages squares of (B, h, w, c) to (B, h / stride, w / stride, c)."""
    rows, columns = pooled_sides(features.shape[1], features.shape[2], stride, name)
    if stride == 1:
        return features
    return features.reshape(len(features), rows, stride, columns, stride, features.shape[-1]).mean(dim=(2, 4))


bind_to_package(__name__)

__all__ = ["AtokenLlavaMultiModalProjector"]
