"""A text tower for the tiny model, in the place of SigLIP 2's: it learns what the miniature world's sentences mean.

A sentence is compared with scenes that are given as facts, not as pictures: a scene's embedding is the sum of one
vector for each of its words. By the sigmoid loss a sentence has to be near every scene that it is true of and far from
all others, so words that were never seen together still add up. The tower is frozen afterwards, and vision towers are
trained against it, as the paper's are against SigLIP 2's.
"""

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Siglip2TextConfig, Siglip2TextModel

from atoken.miniature.captions import captions, random_caption
from atoken.miniature.scenes import COLOURS, KINDS, MATERIALS, MOTIONS, POSITIONS, Scene, random_scene, shapes_of
from atoken.processing.text_processing_atoken import add_canonical_form, canonicalize_text, tokenize_text

from ...tokenizer.losses import SIGMOID_BIAS, SIGMOID_SCALE

LENGTH = 16  # of a sentence in tokens
SPECIAL = ("<pad>", "<eos>", "<unk>")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Makes a tokenizer with one token for each word of the miniature world, and an end."""
    words = sorted({word for scene in every_word() for text in captions(scene) for word in _words(text)})
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    whole = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=LENGTH,
    )
    return add_canonical_form(whole)


def _words(text: str) -> list[str]:
    return canonicalize_text(text).split()


def every_word() -> list[Scene]:
    """Lists scenes in which every word occurs; combinations do not matter for a vocabulary."""
    scenes = []
    for kind in KINDS:
        motions = MOTIONS if kind == "video" else (None,)
        positions = tuple(POSITIONS) if kind == "image" else (None,)
        values = (tuple(COLOURS), shapes_of(kind), MATERIALS, motions, positions)
        for index in range(max(map(len, values))):
            scenes.append(Scene(kind, *(column[index % len(column)] for column in values)))
    return scenes


class SceneTower(nn.Module):
    """Turns scenes, as facts, into (B, d): the sum of one learned vector for each fact."""

    def __init__(self, width: int):
        super().__init__()
        facts = sorted({(name, word) for scene in every_word() for name, word in scene.facts().items()})
        self.index = {fact: place for place, fact in enumerate(facts)}
        self.table = nn.EmbeddingBag(len(facts), width, mode="sum")
        nn.init.normal_(self.table.weight)

    def forward(self, scenes: list[Scene]) -> torch.Tensor:
        """Gives (B, d)."""
        indices = [[self.index[fact] for fact in scene.facts().items()] for scene in scenes]
        offsets = torch.tensor([0, *(len(row) for row in indices)]).cumsum(0)[:-1]
        return self.table(torch.tensor([place for row in indices for place in row]), offsets)


def build_text_model(vocabulary: int, width: int, hidden_size: int = 96) -> Siglip2TextModel:
    """Makes a small tower of SigLIP 2's kind; `width` is that of the vision tower's embeddings; heads have 32."""
    config = Siglip2TextConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=4 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=hidden_size // 32,
        max_position_embeddings=LENGTH,
        projection_size=width,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    return Siglip2TextModel._from_config(config)


def is_true(texts: list[str], scenes: list[Scene]) -> torch.Tensor:
    """Tells which text is true of which scene, (texts, scenes) bool."""
    true_of = [frozenset(captions(scene)) for scene in scenes]
    return torch.tensor([[text in sentences for sentences in true_of] for text in texts])


def train_text_model(
    tokenizer: PreTrainedTokenizerFast, width: int, steps: int = 2500, batch: int = 192, seed: int = 0
) -> tuple[Siglip2TextModel, list[float]]:
    """
    Trains a tower on captions and scenes of the training split; returns it and its loss every 100 steps.

    Args:
        width: of the embeddings.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    text_model, scene_tower = build_text_model(len(tokenizer), width), SceneTower(width)
    scale, bias = nn.Parameter(torch.tensor(SIGMOID_SCALE)), nn.Parameter(torch.tensor(SIGMOID_BIAS))
    parameters = [*text_model.parameters(), *scene_tower.parameters(), scale, bias]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.05)
    curve = []
    for step in range(steps):
        scenes = [random_scene(KINDS[i % len(KINDS)], "train", rng) for i in range(batch)]
        texts = [random_caption(scene, rng) for scene in scenes]
        ids = tokenize_text(tokenizer, texts, max_length=LENGTH)
        prediction = F.normalize(text_model(input_ids=ids).pooler_output, dim=-1)
        target = F.normalize(scene_tower(scenes), dim=-1)
        signs = 2.0 * is_true(texts, scenes) - 1
        loss = -F.logsigmoid(signs * (scale.exp() * prediction @ target.T + bias)).sum(-1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            curve.append(float(loss.detach()))
    return text_model.eval(), curve
