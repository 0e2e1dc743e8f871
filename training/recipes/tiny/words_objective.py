"""The loss of real words: the pooled token towards the teacher's words, patch tokens towards the teacher's map."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase, Siglip2TextModel

from ...contracts import Share
from ...data.batches import TrainingBatch
from ...tokenizer.curriculum import DISTILLED
from ...tokenizer.losses import distillation_loss
from ...tokenizer.objective import Objective, Texts
from .words_targets import MAP_CHANNELS, SPACES
from .words_task import WordsBatch
from .words_text import embed_texts

# These make the gradient in the encoder about as large as that of reconstruction with the weights of the tiny stages.
WEIGHT, MAP_WEIGHT = 2.0, 4.0
# Of the miniature world's images: enough to hold what the encoder knows of them while it learns words.
DISTILLATION_WEIGHT = 5.0
LOGIT_SCALE = 3.7  # logarithm of what cosines with class names are multiplied by: about 40
# Penalties of regressions, beside mean squares of 1: pooled tokens say little of words, and there are few of them.
_PENALTY, _POOLED_PENALTY = 1e-2, 1.0
_LEAST_SCALE = 0.2  # of a channel, beside the mean


@torch.no_grad()
def fit_space(
    folder: Path, text_model: Siglip2TextModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Finds how a text tower has laid real words into its embeddings, from the names of ImageNet's classes.

    Args:
        folder: written by `words_targets`.
        text_model, tokenizer: of `train_word_model`.

    Returns:
        A matrix (256, d) from vectors of words to embeddings, and the names' embeddings (1000, d).
    """
    with safe_open(folder / SPACES, "pt") as file:
        vectors, names = file.get_tensor("names"), json.loads((file.metadata() or {})["names"])
    found = torch.cat([embed_texts(text_model, tokenizer, names[i : i + 250]) for i in range(0, len(names), 250)])
    return _regression(F.normalize(vectors, dim=-1), F.normalize(found, dim=-1)), found


def _regression(x: torch.Tensor, y: torch.Tensor, penalty: float = _PENALTY) -> torch.Tensor:
    """Fits y = x W by ridge regression whose penalty allows for the scales of x, (d, k)."""
    x, y = x.double(), y.double()
    scales = x.square().mean(0).sqrt()
    # Channels that hardly change would get weights so large that training could not go on from there.
    scales = scales.clamp(min=float(_LEAST_SCALE * scales.mean()))
    x = x / scales
    ridge = penalty * len(x) * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return (torch.linalg.solve(x.T @ x + ridge, x.T @ y) / scales[:, None]).float()


class WordsObjective(Objective):
    """
    Adds real words to the tasks of `Objective`.

    Args:
        space, names: see `fit_space`.
        arguments: those of `Objective`, by name.
    """

    def __init__(self, space: torch.Tensor, names: torch.Tensor, **arguments):
        super().__init__(**arguments)
        # In training only: it is not exported with the model.
        self.map_head = nn.Linear(self.model.config.vision_config.hidden_size, MAP_CHANNELS)
        self.register_buffer("space", space, persistent=False)
        self.register_buffer("names", names, persistent=False)

    def count_flops(self, batch: TrainingBatch | WordsBatch) -> float | None:
        """Counts the operations of a stage's own tasks; those of words are not known."""
        return None if isinstance(batch, WordsBatch) else super().count_flops(batch)

    def forward(
        self,
        batch: TrainingBatch | WordsBatch | Sequence[TrainingBatch | WordsBatch],
        share: Share | None = None,
        common: Texts | None = None,
    ) -> dict[str, torch.Tensor] | list[Texts | None]:
        """Gives "loss", to be minimized, and its parts, detached; or what `Objective` gives for a step's batches."""
        if share is None or not isinstance(batch, WordsBatch):
            parts = super().forward(batch, share, common)
            if share is None:
                return parts
            factor = DISTILLATION_WEIGHT if batch.task == DISTILLED else 1.0
            return {**parts, "loss": factor * parts["loss"]}
        encoded = self.model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens)
        target = self._target(batch)
        words = 1 - F.cosine_similarity(encoded.pooler_output, target, dim=-1).mean()
        names = distillation_loss(encoded.pooler_output, target, self.names, LOGIT_SCALE)
        maps = F.mse_loss(self.map_head(self._places(encoded.last_hidden_state, batch)), _by_place(batch.maps))
        parts = {name: share.samples * part for name, part in (("words", words), ("names", names), ("maps", maps))}
        loss = WEIGHT * (parts["words"] + parts["names"] + MAP_WEIGHT * parts["maps"])
        return {"loss": loss, **{name: part.detach() for name, part in parts.items()}}

    def _places(self, tokens: torch.Tensor, batch: WordsBatch) -> torch.Tensor:
        """Averages tokens over the places of the teacher's map, (B * 49, width)."""
        grid = tokens.reshape(len(batch.vectors), *batch.grid, -1).permute(0, 3, 1, 2)
        return _by_place(F.adaptive_avg_pool2d(grid.float(), batch.maps.shape[-2:]))

    @torch.no_grad()
    def fit_heads(self, words: Sequence[WordsBatch], others: Sequence[TrainingBatch]) -> None:
        """
        Sets by regression what would take long to learn: the head of the maps, and what the pooled token says of words.

        The projection behind the pooling attention is added what tells words from its input, and nothing from that of
        other pictures, whose embeddings should stay what they are.

        Args:
            words: some batches.
            others: some of the understanding of images.
        """
        pooling = self.model.vision_model.head.attention.out_proj
        inputs: list[torch.Tensor] = []
        hook = pooling.register_forward_pre_hook(lambda _, given: inputs.append(given[0].flatten(0, -2)))
        tokens, maps, targets, lengths = [], [], [], []
        for batch in words:
            encoded = self.model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens)
            tokens.append(self._places(encoded.last_hidden_state, batch))
            maps.append(_by_place(batch.maps))
            targets.append(self._target(batch))
        for batch in others:
            encoded = self.model.vision_model(batch.pixel_values, batch.coords, batch.cu_seqlens)
            lengths.append(encoded.pooler_output.norm(dim=-1))
            targets.append(torch.zeros_like(encoded.pooler_output))
        hook.remove()
        _add_regression(self.map_head, torch.cat(tokens), torch.cat(maps) - self.map_head(torch.cat(tokens)), _PENALTY)
        wanted = torch.cat(targets) * torch.cat(lengths).mean()
        _add_regression(pooling, torch.cat(inputs), wanted, _POOLED_PENALTY)

    def _target(self, batch: WordsBatch) -> torch.Tensor:
        return F.normalize(batch.vectors @ self.space, dim=-1)


def _add_regression(layer: nn.Linear, x: torch.Tensor, y: torch.Tensor, penalty: float) -> None:
    """Adds to a layer, in place, what a regression of y on its inputs x says."""
    weight = _regression(x - x.mean(0), y - y.mean(0), penalty)
    layer.weight += weight.T
    layer.bias += y.mean(0) - x.mean(0) @ weight


def _by_place(maps: torch.Tensor) -> torch.Tensor:
    """Turns (B, C, H, W) into (B * H * W, C)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
