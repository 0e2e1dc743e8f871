"""TokenBridge: a masked transformer that generates codes of a class (AToken paper, section 5.3).

A backbone in MAR's way gives a feature to every position; a small causal head then draws that position's codes one
after another. Released checkpoints of its authors are converted by `convert_token_bridge`. Needs
`pip install "atoken[diffusers]"`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

# Loading this file as remote code from a local folder, diffusers copies the modules named here and no others. So all
# siblings that are needed are named, even those that only other siblings use.
from .attention_atoken import MLP, GeneratorAttention
from .code_values_atoken import fsq_code_values, normal_code_values
from .drawing_atoken import CodeDrawing, Generators, masked_counts, random_orders
from .modulation_atoken import Modulation  # noqa: F401
from .token_bridge_checks_atoken import check_config, check_sampling, check_training
from .token_bridge_head_atoken import TokenBridgeHead

# Encoder and decoder: d, blocks each, heads; head: q, blocks, heads.
PRESETS = {
    "tiny": ((256, 4, 8), (256, 2, 4)),
    "B": ((768, 12, 12), (768, 4, 8)),
    "L": ((1024, 16, 16), (1024, 4, 8)),
    "H": ((1280, 20, 16), (1024, 6, 8)),
}


@dataclass
class TokenBridgeOutput(BaseOutput):
    """
    Output of [`TokenBridgeModel`].

    Attributes:
        loss: scalar, the mean cross-entropy over masked positions and codes.
        logits (M, G, V): of the masked positions, image by image, row by row; codes in the order in which they are
            drawn. None if not asked for.
    """

    loss: torch.Tensor
    logits: torch.Tensor | None = None


class BackboneBlock(nn.Module):
    """Applies full attention and an MLP, each after a layer norm."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = GeneratorAttention(width, heads, dropout=dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, 4, dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, L, d) -> (B, L, d)."""
        hidden = hidden + self.attn(self.norm1(hidden))
        return hidden + self.mlp(self.norm2(hidden))


class TokenBridgeModel(ModelMixin, ConfigMixin):
    r"""
    Learns codes of masked positions, and generates the codes of an image step by step.

    Args:
        sample_size (`int`): Side of the square of positions; N is its square.
        num_codes (`int`), codebook_size (`int`): G codes of each position, in [0, V).
        code_channels (`int`): Channels c of the values that a code stands for.
        code_levels (`int`, *optional*): Levels L of finite scalar quantization with V = L ** c, which give the values.
            Without it c must be 1, and the values start as TokenBridge's own.
        code_order (`list[int]`, *optional*): Which code of a position is drawn first, second, ...; 0, 1, ... when not
            given.
        encoder_hidden_size, encoder_num_layers, encoder_num_attention_heads (`int`): Of the backbone's encoder, which
            sees what is not masked.
        decoder_hidden_size, decoder_num_layers, decoder_num_attention_heads (`int`): Of its decoder, which sees all.
        head_hidden_size, head_num_layers, head_num_attention_heads (`int`): Of the head.
        buffer_size (`int`): How often the class stands in front of the positions.
        num_classes (`int`): K; label K means "no class".
        dropout (`float`): In training.
        vae_latents_mean, vae_latents_std (`list[float]`, *optional*): Of the configuration of the autoencoder whose
            codes it was trained on, so that another is noticed. Codes are not normalized by them.
        id2label (`dict[int, str]`, *optional*): Names of classes; a comma separates several names of one.

    Raises:
        ValueError: naming the argument that does not fit.
    """

    _supports_gradient_checkpointing = True
    _no_split_modules = ["BackboneBlock", "HeadBlock"]
    _repeated_blocks = ["BackboneBlock"]
    _skip_layerwise_casting_patterns = ["input", "embed", "position", "token", "norm", "code_outputs"]

    @register_to_config
    def __init__(
        self,
        sample_size: int = 16,
        num_codes: int = 8,
        codebook_size: int = 4096,
        code_channels: int = 6,
        code_levels: int | None = 4,
        code_order: list[int] | None = None,
        encoder_hidden_size: int = 1024,
        encoder_num_layers: int = 16,
        encoder_num_attention_heads: int = 16,
        decoder_hidden_size: int = 1024,
        decoder_num_layers: int = 16,
        decoder_num_attention_heads: int = 16,
        head_hidden_size: int = 1024,
        head_num_layers: int = 4,
        head_num_attention_heads: int = 8,
        buffer_size: int = 64,
        num_classes: int = 1000,
        dropout: float = 0.1,
        vae_latents_mean: list[float] | None = None,
        vae_latents_std: list[float] | None = None,
        id2label: dict[int, str] | None = None,
    ):
        super().__init__()
        check_config(self.config)
        positions = self.num_positions = sample_size * sample_size
        width, inner = encoder_hidden_size, decoder_hidden_size
        values = (
            normal_code_values(codebook_size) if code_levels is None else fsq_code_values(code_levels, code_channels)
        )
        self.register_buffer("code_values", values)  # (V, c)
        order = torch.tensor(code_order or range(num_codes))
        self.register_buffer("drawing_order", order, persistent=False)

        self.input_proj = nn.Linear(num_codes * code_channels, width)
        self.input_norm = nn.LayerNorm(width, eps=1e-6)
        self.class_embed = nn.Embedding(num_classes, width)
        self.no_class_embed = nn.Parameter(torch.empty(1, width))
        self.encoder_position = nn.Parameter(torch.empty(1, buffer_size + positions, width))
        self.encoder_blocks = nn.ModuleList(
            BackboneBlock(width, encoder_num_attention_heads, dropout) for _ in range(encoder_num_layers)
        )
        self.encoder_norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder_proj = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.empty(1, 1, inner))
        self.decoder_position = nn.Parameter(torch.empty(1, buffer_size + positions, inner))
        self.decoder_blocks = nn.ModuleList(
            BackboneBlock(inner, decoder_num_attention_heads, dropout) for _ in range(decoder_num_layers)
        )
        self.decoder_norm = nn.LayerNorm(inner, eps=1e-6)
        self.output_position = nn.Parameter(torch.empty(1, positions, inner))
        self.head = TokenBridgeHead(
            inner, head_hidden_size, head_num_layers, head_num_attention_heads, num_codes, codebook_size, dropout
        )
        self.gradient_checkpointing = False
        self._initialize()

    @classmethod
    def from_preset(cls, name: str, **kwargs: Any) -> "TokenBridgeModel":
        """
        Makes a model with random weights of one of the published sizes.

        Args:
            name: "B", "L" (the paper's), "H" or "tiny".
            kwargs: other arguments of the class.

        Raises:
            ValueError: there is no such preset.
        """
        if name not in PRESETS:
            raise ValueError(f"name must be one of {', '.join(PRESETS)}, got {name!r}")
        (width, layers, heads), (head_width, head_layers, head_heads) = PRESETS[name]
        sizes = {"head_hidden_size": head_width, "head_num_layers": head_layers, "head_num_attention_heads": head_heads}
        for part in ("encoder", "decoder"):
            sizes |= {f"{part}_hidden_size": width, f"{part}_num_layers": layers, f"{part}_num_attention_heads": heads}
        return cls(**{**sizes, **kwargs})

    def _initialize(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear) and "modulation" not in name:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        head = self.head
        learned = (self.no_class_embed, self.mask_token, self.encoder_position, self.decoder_position)
        learned += (self.output_position, self.class_embed.weight, head.element_embed, head.condition_embed)
        for parameter in learned:
            nn.init.normal_(parameter, std=0.02)

    def _set_gradient_checkpointing(self, enable: bool = True, gradient_checkpointing_func=None) -> None:
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func)
        self.head.gradient_checkpointing = enable

    def forward(
        self,
        codes: torch.Tensor,
        class_labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        num_masked: int | None = None,
        return_logits: bool = True,
        return_dict: bool = True,
    ) -> TokenBridgeOutput | tuple[torch.Tensor, ...]:
        """
        Computes the loss of masked positions.

        Args:
            codes: (B, N, G) int64 in [0, V), positions row by row.
            class_labels: (B,) int64 in [0, K]; K means "no class".
            mask: (B, N) bool, True where codes are hidden and learned; as many in each image.
            num_masked: how many, where that is known; spares waiting for the device.
            return_logits: False saves their memory.
            return_dict: False for a tuple.

        Returns:
            `loss` and `logits`, see [`TokenBridgeOutput`].

        Raises:
            ValueError: a shape or a dtype does not fit, or images have different numbers of masked positions.
        """
        check_training(codes, class_labels, mask, self.num_positions, self.config.num_codes)
        if num_masked is None:
            counts = mask.sum(1).tolist()
            num_masked = counts[0]
            if counts != [num_masked] * len(counts):
                raise ValueError(f"mask must have as many True values in each image, got {counts}")
        if num_masked < 1:
            raise ValueError("mask must have at least one True value in each image, got none")
        # Masked ones last, in the order of rows.
        order = mask.to(torch.uint8).argsort(dim=1, stable=True)
        features = self.features(codes, class_labels, order, num_masked)
        hidden_positions = order[:, order.shape[1] - num_masked :]
        drawn = _take(codes[..., self.drawing_order], hidden_positions).flatten(0, 1)
        hidden = self.head(_take(features, hidden_positions).flatten(0, 1), drawn)
        loss = self.head.loss(hidden, drawn)
        logits = self.head.logits(hidden) if return_logits else None
        return TokenBridgeOutput(loss=loss, logits=logits) if return_dict else (loss, logits)

    def features(
        self, codes: torch.Tensor, class_labels: torch.Tensor, order: torch.Tensor, num_masked: int
    ) -> torch.Tensor:
        """
        Gives the feature of every position.

        Args:
            codes: (B, N, G) int64; those of masked positions do not matter.
            class_labels: (B,) int64 in [0, K].
            order: (B, N) int64, positions of each image, the masked ones last.
            num_masked: how many.

        Returns:
            (B, N, d) of the decoder's width.
        """
        batch, buffer = codes.shape[0], self.config.buffer_size
        values = self.code_values[codes].flatten(2)  # (B, N, G c)
        tokens = self.input_proj(values)
        no_class = (class_labels == self.config.num_classes)[:, None]
        known = self.class_embed(class_labels.clamp(max=self.config.num_classes - 1))
        label = torch.where(no_class, self.no_class_embed, known)[:, None].expand(-1, buffer, -1)
        tokens = self.input_norm(torch.cat([label, tokens], dim=1) + self.encoder_position)
        # The class's tokens are always seen.
        seen = order[:, : order.shape[1] - num_masked] + buffer
        front = torch.arange(buffer, device=order.device).expand(batch, -1)
        seen = torch.cat([front, seen], dim=1)
        encoded = self.encoder_norm(self._run(self.encoder_blocks, _take(tokens, seen)))
        encoded = self.decoder_proj(encoded)
        places = seen[..., None].expand(-1, -1, encoded.shape[-1])
        filled = self.mask_token.to(encoded.dtype).expand(batch, tokens.shape[1], -1).scatter(1, places, encoded)
        decoded = self.decoder_norm(self._run(self.decoder_blocks, filled + self.decoder_position))
        return decoded[:, buffer:] + self.output_position

    def _run(self, blocks: nn.ModuleList, hidden: torch.Tensor) -> torch.Tensor:
        for block in blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                hidden = self._gradient_checkpointing_func(block, hidden)
            else:
                hidden = block(hidden)
        return hidden

    @torch.no_grad()
    @apply_forward_hook
    def generate(
        self,
        class_labels: torch.Tensor,
        num_inference_steps: int = 64,
        guidance_scale: float = 1.0,
        guidance_schedule: str = "linear",
        temperature: float = 1.0,
        order: torch.Tensor | None = None,
        first_element: str = "training",
        generator: Generators = None,
        callback: Any = None,
    ) -> torch.Tensor:
        """
        Generates codes, everything masked at first, some positions a step (paper, section 5.3).

        Args:
            class_labels: (B,) int64 in [0, K].
            num_inference_steps: from 1 to N; N draws one position a step.
            guidance_scale: of the features' difference to those of "no class"; 1 is off.
            guidance_schedule: "linear" lets it rise from 1 with the share of positions drawn, "constant" not.
            temperature: logits are divided by it; 0 takes the most likely code.
            order: (B, N) int64, the order of each image's positions, in which the last are drawn first; random when
                not given.
            first_element: "training", or "official" as the authors' sampler does; see `TokenBridgeHead.draw`.
            generator: of random numbers, or one for each image, so that an image does not depend on others.
            callback: is called with the step's number after each step.

        Returns:
            (B, N, G) int64.

        Raises:
            ValueError: an argument is out of range.
        """
        positions = self.num_positions
        check_sampling(
            class_labels,
            order,
            num_classes=self.config.num_classes,
            positions=positions,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            guidance_schedule=guidance_schedule,
            temperature=temperature,
            first_element=first_element,
        )
        batch, device = len(class_labels), class_labels.device
        drawing = CodeDrawing(batch, temperature, generator, device)
        if order is None:
            order = random_orders(batch, positions, generator, device)
        is_guided = guidance_scale != 1
        labels = torch.cat([class_labels, torch.full_like(class_labels, self.config.num_classes)])
        codes = torch.zeros(batch, positions, self.config.num_codes, dtype=torch.int64, device=device)
        masked = positions
        for step, remaining in enumerate(masked_counts(positions, num_inference_steps)):
            now = order[:, remaining:masked]  # (B, n)
            # Features want the masked ones last, and here they are first.
            arranged = torch.cat([order[:, masked:], order[:, :masked]], dim=1)
            if is_guided:
                both = self.features(codes.repeat(2, 1, 1), labels, arranged.repeat(2, 1), masked)
                with_class, without = both.chunk(2)
                share = (positions - remaining) / positions if guidance_schedule == "linear" else 1.0
                features = without + (1 + (guidance_scale - 1) * share) * (with_class - without)
            else:
                features = self.features(codes, class_labels, arranged, masked)
            chosen = _take(features, now).flatten(0, 1)
            drawn = self.head.draw(chosen, drawing.begin(now.shape[1]), first_element=first_element)
            in_channel_order = torch.empty_like(drawn)
            in_channel_order[:, self.drawing_order] = drawn
            places = now[..., None].expand(-1, -1, codes.shape[-1])
            codes.scatter_(1, places, in_channel_order.unflatten(0, (batch, -1)))
            masked = remaining
            if callback is not None:
                callback(step)
        return codes


def _take(values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Takes positions of each image: (B, N, ...), (B, n) -> (B, n, ...)."""
    return values.gather(1, indices[..., None].expand(-1, -1, values.shape[-1]))
