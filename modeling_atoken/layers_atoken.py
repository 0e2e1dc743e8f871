"""The transformer's parts: 4D rotary positions, norms, attention over packed sequences, blocks, the temporal cache."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import nn
from torch.nn.modules.module import _has_any_global_hook
from transformers.activations import ACT2FN, GELUTanh
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .token_layouts_atoken import PackedSequences, TokenLayout, grid_positions
from .varlen_attention_atoken import has_kernel, varlen_attn


def rotary_table(coords: torch.Tensor, head_dim: int, theta: float) -> torch.Tensor:
    """
    Cosines and sines of the 4D rotary embedding (paper, section 3.2).

    A head's channels are adjacent pairs; a quarter of the pairs rotates with each of t, x, y, z. Within an axis the
    frequencies are theta^(-k / head_dim): the released weights divide by head_dim, not by the axis's share of it.

    Args:
        coords: (N, 4).
        head_dim: channels of a head, a multiple of 8.
        theta: base of the frequencies.

    Returns:
        (N, head_dim / 2, 2) fp32: cosine and sine for every pair.
    """
    exponents = torch.arange(head_dim // 8, device=coords.device, dtype=torch.float32) / head_dim
    angles = coords[:, :, None].float() * theta**-exponents  # (N, 4, head_dim / 8)
    angles = angles.flatten(1)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


@dataclass
class RotaryTable:
    """
    Holds a `rotary_table` where wrappers that cast the inputs of blocks, such as FSDP2's, leave it in fp32: in bf16 it
    would tell few positions apart.
    """

    values: torch.Tensor

    def to(self, device: torch.device, non_blocking: bool = False) -> "RotaryTable":
        """Gives the table on a device, as a block's hook of accelerate asks for, where blocks lie on several."""
        moved = self.values.to(device, non_blocking=non_blocking)
        return self if moved is self.values else RotaryTable(moved)


def apply_rotary(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotates the channel pairs of x (N, heads, head_dim) by a table (N, head_dim / 2, 2), in fp32."""
    pairs = x.float().unflatten(-1, (-1, 2))
    table = table[:, None]
    if torch.compiler.is_compiling():
        # Compilers and exporters fuse real arithmetic but do not know complex numbers.
        even, odd = pairs.unbind(-1)
        cos, sin = table.unbind(-1)
        rotated = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    else:
        # One pass over memory instead of three.
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(table))
    return rotated.flatten(-2).to(x.dtype)


class AtokenRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, computed in fp32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = torch.rsqrt(norm.square() / wide.shape[-1] + self.eps)
        normed = wide * scale
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            normed = normed * self.weight.float()
        else:
            normed.mul_(self.weight.float())  # in place: the memory of another result costs more than the product
        return normed.to(x.dtype)


class AtokenHeadNorm(nn.Module):
    """x / ||x|| * gamma * sqrt(head_dim) for every head of (N, heads, head_dim), computed in fp32."""

    def __init__(self, num_heads: int, head_dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_heads, head_dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).clamp_min(1e-12)  # a zero vector stays zero
        # The factors first: they cost less memory traffic than another pass over x.
        return (wide * (x.shape[-1] ** 0.5 / norm * self.weight.float())).to(x.dtype)


class AtokenMLP(nn.Module):
    def __init__(self, config, bias: bool):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size, bias=bias)
        self.activation_fn = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size, bias=bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.fc1(hidden_states)
        if self._may_overwrite():
            # In place: a second tensor of the block's largest size costs twice the memory, and on a CPU its allocation
            # takes as long as the activation.
            hidden_states = torch.ops.aten.gelu_(hidden_states, approximate="tanh")
        else:
            hidden_states = self.activation_fn(hidden_states)
        return self.fc2(hidden_states)

    def _may_overwrite(self) -> bool:
        """Tells whether nobody but this module sees what `fc1` gives: no gradient, no hook, no wrapper."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or _has_any_global_hook():
            return False
        return _is_plain(self.fc1, nn.Linear) and _is_plain(self.activation_fn, GELUTanh)


def _is_plain(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Tells whether a module is exactly of a class, as it was made: without hooks and with the class's forward."""
    hooks = module._forward_hooks or module._forward_pre_hooks
    return type(module) is kind and not hooks and "forward" not in vars(module)


class WindowRemains:
    """
    Takes the keys and values that blocks leave behind in a window.

    It is no container and no dataclass: FSDP2 hands every block a copy of those that hold tensors with gradients, and
    what a block wrote into a copy would be lost.

    Attributes:
        layers: keys and values (K, heads, head width) by block.
    """

    def __init__(self):
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}


@dataclass
class CacheWindow:
    """Shows one window's view of a [`TemporalCache`]: what came before it, and what it leaves behind."""

    layout: TokenLayout
    key_coords: torch.Tensor  # (M, 4) of the past and present keys that are attended to, sorted by sample
    past: list[tuple[torch.Tensor, torch.Tensor]]
    order: torch.Tensor | None  # (M,) into past keys followed by present ones
    keep: torch.Tensor  # (K,) into past keys followed by present ones: what later windows may need
    kept_coords: torch.Tensor  # (K, 4) of those, with t counted from the start of the video
    kept_sample: torch.Tensor  # (K,)
    end: int  # the latent frame after the window
    present: WindowRemains = field(default_factory=WindowRemains)

    def to(self, device: torch.device, non_blocking: bool = False) -> "CacheWindow":
        """Gives a view of the same window for the blocks on a device, where their own keys and values lie already."""
        keep = self.keep.to(device, non_blocking=non_blocking)
        if keep is self.keep:
            return self
        order = None if self.order is None else self.order.to(device, non_blocking=non_blocking)
        return replace(self, order=order, keep=keep)

    def update(self, layer_idx: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts a block's past keys and values in front of the present ones (N, heads, head_dim)."""
        if self.past:
            past_key, past_value = self.past[layer_idx]
            key, value = torch.cat([past_key, key]), torch.cat([past_value, value])
        self.present.layers[layer_idx] = (key[self.keep], value[self.keep])
        if self.order is not None:
            key, value = key[self.order], value[self.order]
        return key, value


class TemporalCache:
    """
    Keys and values of the latent frames just before the next window, for every block (paper, Figure 6).

    A video runs through the model window by window. Each window attends to itself and to the last `frames` latent
    frames before it. Keys are kept as they are before the rotary embedding, because the cached frames are renumbered
    in every window: they come first, from t = 0. The memory depends on `frames`, never on the length of the video.

    Args:
        frames: latent frames to keep; 0 makes the windows independent.

    Attributes:
        layers: keys and values (N, heads, head width) of every block.
        coords, sample: (N, 4) and (N,) of their tokens, None before the first window.
    """

    def __init__(self, frames: int):
        if frames < 0:
            raise ValueError(f"frames must not be negative, got {frames}")
        self.frames = frames
        self.next_frame = 0
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.coords: torch.Tensor | None = None
        self.sample: torch.Tensor | None = None

    def open_window(self, coords: torch.Tensor, sample: torch.Tensor, num_frames: int) -> CacheWindow:
        """
        Prepares the next window.

        Args:
            coords: (N, 4) with t counted from the start of the window; sorted by sample.
            sample: (N,) the sample of each token, in any numbering that stays the same from window to window.
            num_frames: latent frames that the window covers.
        """
        device = coords.device
        start, end = self.next_frame, self.next_frame + num_frames
        origin = max(0, start - self.frames)
        coords = torch.cat([coords[:, :1] + start, coords[:, 1:]], dim=1)
        ids, local, lengths = torch.unique_consecutive(sample, return_inverse=True, return_counts=True)
        all_coords, all_sample, order = coords, sample, None
        key_coords, key_sample = coords, sample
        if self.layers:
            all_coords, all_sample = torch.cat([self.coords, coords]), torch.cat([self.sample, sample])
            # Not attended to: the past of samples without a token here, and frames too far back if some had no tokens.
            seen = torch.isin(all_sample, ids) & (all_coords[:, 0] >= origin)
            order = seen.nonzero().squeeze(1)
            order = order[torch.argsort(all_sample[order], stable=True)]
            key_coords, key_sample = all_coords[order], all_sample[order]
        key_lengths = torch.unique_consecutive(key_sample, return_counts=True)[1]
        queries, keys = torch.stack([lengths, key_lengths]).tolist()
        grids, grid_index = grid_positions(coords, local, len(queries))
        sequences = PackedSequences.from_lengths(queries, device, keys)
        shift = torch.tensor([origin, 0, 0, 0], device=device)
        keep = (all_coords[:, 0] >= end - self.frames).nonzero().squeeze(1)  # none if frames is 0
        layout = TokenLayout(coords - shift, None, sequences, grids, grid_index)
        return CacheWindow(
            layout, key_coords - shift, self.layers, order, keep, all_coords[keep], all_sample[keep], end
        )

    def close_window(self, window: CacheWindow) -> None:
        """Takes over what the window leaves behind, once all blocks have run."""
        self.coords, self.sample, self.next_frame = window.kept_coords, window.kept_sample, window.end
        left = window.present.layers
        self.layers = [left[i] for i in range(len(left))] if self.frames else []


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(q k^T * scaling) v with the softmax in fp32; (B, heads, L, head_dim) -> (B, L, heads, head_dim)."""
    weights = torch.softmax(query @ key.transpose(-1, -2) * scaling, dim=-1, dtype=torch.float32).to(query.dtype)
    return (weights @ value).transpose(1, 2), weights


def packed_attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, sequences: PackedSequences
) -> torch.Tensor:
    """
    Full attention within each sequence, through the backend of `module.config._attn_implementation`.

    Args:
        query: (N, heads, head_dim).
        key, value: (M, heads, head_dim).
        sequences: the lengths of the packed sequences.

    Returns:
        (N, heads * head_dim).
    """
    implementation = module.config._attn_implementation
    attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
    ragged = len(sequences.runs) > 1
    if implementation and implementation.startswith("flash_attention"):
        lengths = {
            "cu_seq_lens_q": sequences.cu_seqlens_q,
            "cu_seq_lens_k": sequences.cu_seqlens_k,
            "max_length_q": sequences.max_length_q,
            "max_length_k": sequences.max_length_k,
        }
        query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
        output, _ = attention(module, query, key, value, None, scaling=module.scaling, is_causal=False, **lengths)
        return output.flatten(-2)[0]
    if implementation == "sdpa" and ragged and has_kernel(query):
        # Its scale defaults to 1 / sqrt(head_dim), which is ours.
        return varlen_attn(
            query,
            key,
            value,
            sequences.cu_seqlens_q,
            sequences.cu_seqlens_k,
            sequences.max_length_q,
            sequences.max_length_k,
        ).flatten(-2)
    outputs = []
    q_start = k_start = 0
    for count, q_length, k_length in sequences.runs:
        q_end, k_end = q_start + count * q_length, k_start + count * k_length
        # (count * length, heads, head_dim) -> (count, heads, length, head_dim), all of them views
        q = query[q_start:q_end].unflatten(0, (count, q_length)).transpose(1, 2)
        k, v = (x[k_start:k_end].unflatten(0, (count, k_length)).transpose(1, 2) for x in (key, value))
        output, _ = attention(module, q, k, v, None, scaling=module.scaling, is_causal=False)
        outputs.append(output.flatten(2).flatten(0, 1))
        q_start, k_start = q_end, k_end
    return torch.cat(outputs) if ragged else outputs[0]


class AtokenAttention(nn.Module):
    def __init__(self, config, layer_idx: int, bias: bool, qk_norm: bool):
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=bias)
        self.q_norm = AtokenHeadNorm(self.num_heads, self.head_dim) if qk_norm else None
        self.k_norm = AtokenHeadNorm(self.num_heads, self.head_dim) if qk_norm else None
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        q_rotary: RotaryTable | None,
        k_rotary: RotaryTable | None,
        sequences: PackedSequences,
        window: CacheWindow | None = None,
    ) -> torch.Tensor:
        # (N, 3 * d) -> three of (N, heads, head_dim)
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.num_heads, self.head_dim)).unbind(1)
        if self.q_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if window is not None:
            key, value = window.update(self.layer_idx, key, value)
        if q_rotary is not None:
            query, key = apply_rotary(query, q_rotary.values), apply_rotary(key, k_rotary.values)
        return self.out_proj(packed_attention(self, query, key, value, sequences))


class AtokenBlock(GradientCheckpointingLayer):
    """Pre-norm transformer block. The encoder has LayerNorm and biases, the decoder RMSNorm, qk-norm and no biases."""

    def __init__(self, config, layer_idx: int, norm: Callable[[], nn.Module], bias: bool, qk_norm: bool):
        super().__init__()
        self.norm1 = norm()
        self.attn = AtokenAttention(config, layer_idx, bias=bias, qk_norm=qk_norm)
        self.norm2 = norm()
        self.mlp = AtokenMLP(config, bias=bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        q_rotary: RotaryTable | None,
        k_rotary: RotaryTable | None,
        sequences: PackedSequences,
        window: CacheWindow | None = None,
    ) -> torch.Tensor:
        hidden_states = hidden_states + self.attn(self.norm1(hidden_states), q_rotary, k_rotary, sequences, window)
        return hidden_states + self.mlp(self.norm2(hidden_states))


class AtokenPositionTable(nn.Module):
    """Learned positions of patches in a square grid, resized to the grid that a sample spans. z and t have none."""

    def __init__(self, side: int, dim: int):
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.empty(side * side, dim))

    def forward(self, layout: TokenLayout) -> torch.Tensor:
        """Positions (N, d) of the layout's tokens; resizing is bilinear with antialiasing, in fp32."""
        table = self.weight.float().view(1, self.side, self.side, -1).permute(0, 3, 1, 2)  # (1, d, side, side)
        resized = [
            nn.functional.interpolate(table, size=grid, mode="bilinear", align_corners=False, antialias=True)[0]
            .flatten(1)
            .T
            for grid in layout.grids
        ]
        return torch.cat(resized).to(self.weight.dtype)[layout.grid_index]


class AtokenPoolingHead(nn.Module):
    """Lets a learned probe attend over all tokens of a sample; an MLP with a residual follows (paper, section 3.1)."""

    def __init__(self, config):
        super().__init__()
        self.probe = nn.Parameter(torch.empty(config.hidden_size))
        self.attention = AtokenProbeAttention(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = AtokenMLP(config, bias=True)

    def forward(self, hidden_states: torch.Tensor, sequences: PackedSequences) -> torch.Tensor:
        """Hidden states (N, d) of B packed sequences, each with one query -> (B, d)."""
        num_samples = sum(run[0] for run in sequences.runs)
        probe = self.probe.to(hidden_states.dtype).expand(num_samples, -1)
        attended = self.attention(probe, hidden_states, sequences)
        return attended + self.mlp(self.layernorm(attended))


class AtokenProbeAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.kv_proj = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, probe: torch.Tensor, hidden_states: torch.Tensor, sequences: PackedSequences) -> torch.Tensor:
        query = self.q_proj(probe).unflatten(-1, (self.num_heads, self.head_dim))  # (B, heads, head_dim)
        key, value = self.kv_proj(hidden_states).unflatten(-1, (2, self.num_heads, self.head_dim)).unbind(1)
        return self.out_proj(packed_attention(self, query, key, value, sequences))
