"""What an encoder makes of samples, computed once: the tokens that its pooling head sees."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from atoken import AtokenModel
from atoken.processing import AtokenProcessor
from atoken.processing.mesh_reading_atoken import ColoredMesh
from atoken.processing.views_atoken import mesh_views
from atoken.token_layouts_atoken import PackedSequences

_VIEW_SIZE = 256  # pixels of the views of a solid, as the processor makes patches of so many
# Ways to take colors out of a picture, with what gray is multiplied by for red, green and blue.
COLORLESS = {"gray": (1, 1, 1), "negative": (1, 1, 1), "cyan": (0.25, 1, 0.95), "lime": (0.62, 1, 0.15)}
_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue (BT.601)


@dataclass(frozen=True)
class Described:
    """
    Holds N samples as the pooling head sees them.

    Attributes:
        tokens: of each sample, (n, d) fp32.
        embeddings: that the head has made of them, (N, d) fp32.
    """

    tokens: list[torch.Tensor]
    embeddings: torch.Tensor

    def __len__(self) -> int:
        return len(self.tokens)

    def packed(self, rows: torch.Tensor) -> tuple[torch.Tensor, PackedSequences]:
        """Gives what the head takes of some samples."""
        tokens = [self.tokens[row] for row in rows.tolist()]
        lengths = [len(each) for each in tokens]
        return torch.cat(tokens), PackedSequences.from_lengths([1] * len(tokens), tokens[0].device, lengths)


@torch.no_grad()
def describe(
    model: AtokenModel,
    processor: AtokenProcessor,
    samples: Sequence[Any],
    batch_size: int,
    watch: Callable[[range], Iterable[int]] = iter,
) -> Described:
    """
    Computes what the encoder makes of samples.

    Args:
        model, processor: whose pooling head is to learn.
        samples: pictures (3, H, W) uint8, clips (T, 3, H, W) uint8, or meshes; all of one kind.
        batch_size: samples at a time.
        watch: goes through the batches in their order, such as with a progress bar.
    """
    tokens: list[torch.Tensor] = []
    embeddings: list[torch.Tensor] = []
    for start in watch(range(0, len(samples), batch_size)):
        packed = processor(**_inputs(samples[start : start + batch_size]))
        found = model.vision_model(packed.pixel_values, packed.coords, packed.cu_seqlens)
        tokens += found.last_hidden_state.split(packed.cu_seqlens.diff().tolist())
        embeddings.append(found.pooler_output)
    return Described(tokens, torch.cat(embeddings))


def colorless(picture: np.ndarray, way: str) -> np.ndarray:
    """
    Gives a copy of a picture in which nothing has a color with a name in the miniature world.

    Args:
        picture: (..., 3, H, W) uint8.
        way: one of `COLORLESS`: "gray", its "negative", or gray times a "cyan" or a "lime".
    """
    luma = (picture * _LUMA[:, None, None]).sum(-3, keepdims=True)
    factors = np.array(COLORLESS[way])[:, None, None]
    return ((255 - luma if way == "negative" else luma) * factors).round().astype(np.uint8)


def _inputs(samples: Sequence[Any]) -> dict[str, Any]:
    if isinstance(samples[0], ColoredMesh):
        return {"voxels": [mesh_views(sample, size=_VIEW_SIZE) for sample in samples]}
    if samples[0].ndim == 4:
        options = {"do_sample_frames": False, "input_data_format": "channels_first"}
        return {"videos": list(samples), "videos_kwargs": options}
    return {"images": list(samples), "images_kwargs": {"input_data_format": "channels_first"}}
