"""
The computation of the released checkpoints a second time, in float64 numpy.

Written from the specification of the official code alone, for one sample at a time and without any care for speed:
rotations are 2 x 2 matrices, resizing is a matrix, and the sliding window looks its past up by frame number instead of
rolling a cache. Weights have the released names.
"""

import math

import numpy as np


def layer_norm(x, weight, bias, eps=1e-6):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def rms_norm(x, weight, eps=1e-6):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def triangle_filter(source, target):
    """(target, source) matrix that resizes one axis: bilinear, antialiased when shrinking, pixel centers at 0.5."""
    scale = source / target
    matrix = np.zeros((target, source))
    for i in range(target):
        center = (i + 0.5) * scale
        for j in range(source):
            matrix[i, j] = max(0.0, 1 - abs(j + 0.5 - center) / max(scale, 1.0))
    return matrix / matrix.sum(1, keepdims=True)


def positions(table, coords):
    """The learned position of every token; the table is resized to the grid that the tokens span."""
    side = math.isqrt(len(table))
    grid = table.reshape(side, side, -1)
    rows = triangle_filter(side, coords[:, 1].max() + 1)
    columns = triangle_filter(side, coords[:, 2].max() + 1)
    resized = np.einsum("ri,cj,ijd->rcd", rows, columns, grid)
    return resized[coords[:, 1], coords[:, 2]]


def rope(x, coords):
    """Rotates x (L, heads, head_dim): pair 2i, 2i + 1 by the coordinate of its axis times its frequency."""
    length, _, head_dim = x.shape
    per_axis = head_dim // 8
    out = np.empty_like(x)
    for token in range(length):
        for pair in range(head_dim // 2):
            axis, k = divmod(pair, per_axis)
            angle = coords[token, axis] * 10000.0 ** (-k / head_dim)
            rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            out[token, :, 2 * pair : 2 * pair + 2] = x[token, :, 2 * pair : 2 * pair + 2] @ rotation.T
    return out


def attention(q, k, v):
    """(L, heads, head_dim), (M, heads, head_dim) twice -> (L, heads * head_dim)."""
    logits = np.einsum("lhd,mhd->hlm", q, k) / math.sqrt(q.shape[-1])
    return np.einsum("hlm,mhd->lhd", softmax(logits), v).reshape(len(q), -1)


def fsq(z, levels=4, group=6):
    """Channels (N, C) -> code values (N, C) and indices (N, C / group)."""
    half = (levels - 1) * (1 + 1e-3) / 2
    offset = 0.5 if levels % 2 == 0 else 0.0
    shift = math.atanh(offset / half)
    code = np.round(np.tanh(z + shift) * half - offset) / (levels // 2)
    digits = np.round(code * (levels // 2) + levels // 2).astype(int).reshape(len(z), -1, group)
    return code, (digits * levels ** np.arange(group)).sum(-1)


def kl(moments):
    mean, logvar = np.split(moments, 2, axis=-1)
    return 0.5 * (mean**2 + np.exp(logvar) - 1 - logvar).sum(-1)


class Reference:
    """
    Args:
        weights: name -> array, under the released names.
        heads: attention heads of the encoder; the decoder's are in its weights.
    """

    def __init__(self, weights, heads):
        self.weights = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
        self.heads = heads

    def linear(self, x, name):
        bias = self.weights.get(f"{name}.bias", 0.0)
        return x @ self.weights[f"{name}.weight"].T + bias

    def norm(self, x, name):
        weight, bias = self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias")
        return rms_norm(x, weight) if bias is None else layer_norm(x, weight, bias)

    def mlp(self, x, name):
        return self.linear(gelu(self.linear(x, f"{name}.mlp.0")), f"{name}.mlp.2")

    def tower(self, part, x, coords, stride, cache):
        """
        Input layer, positions and blocks of "encoder" or "decoder" on one sample, `stride` latent frames at a time,
        each looking back `cache` latent frames. t counts from the first frame that a window sees.
        """
        coords = coords - np.array([coords[:, 0].min(), 0, 0, 0])
        out = np.empty((len(x), self.weights[f"{part}.input_layer.weight"].shape[0]))
        past = {}  # block -> keys and values of all frames so far, with their frames
        for start in range(0, coords[:, 0].max() + 1, stride):
            now = (coords[:, 0] >= start) & (coords[:, 0] < start + stride)
            if now.any():
                out[now] = self.window(part, x[now], coords[now], start, max(0, start - cache), past)
        return out

    def window(self, part, x, coords, start, origin, past):
        table = self.weights[f"{part}.pos_embedder.position_embedding.weight"]
        x = self.linear(x, f"{part}.input_layer") + positions(table, coords)
        block = 0
        while f"{part}.blocks.{block}.norm1.weight" in self.weights:
            name = f"{part}.blocks.{block}"
            x = x + self.self_attention(name, self.norm(x, f"{name}.norm1"), coords, start, origin, past)
            x = x + self.mlp(self.norm(x, f"{name}.norm2"), f"{name}.mlp")
            block += 1
        return x

    def self_attention(self, name, x, coords, start, origin, past):
        gamma = self.weights.get(f"{name}.attn.q_rms_norm.gamma")
        heads = self.heads if gamma is None else len(gamma)
        q, k, v = np.split(self.linear(x, f"{name}.attn.to_qkv"), 3, axis=-1)
        q, k, v = (part.reshape(len(x), heads, -1) for part in (q, k, v))
        if gamma is not None:
            q = self.head_norm(q, f"{name}.attn.q_rms_norm.gamma")
            k = self.head_norm(k, f"{name}.attn.k_rms_norm.gamma")
        all_k, all_v, all_coords = past.get(name, (k[:0], v[:0], coords[:0]))
        past[name] = tuple(np.concatenate(pair) for pair in ((all_k, k), (all_v, v), (all_coords, coords)))
        seen = (all_coords[:, 0] >= origin) & (all_coords[:, 0] < start)
        k, v = np.concatenate([all_k[seen], k]), np.concatenate([all_v[seen], v])
        from_origin = np.array([origin, 0, 0, 0])
        q = rope(q, coords - from_origin)
        k = rope(k, np.concatenate([all_coords[seen], coords]) - from_origin)
        return self.linear(attention(q, k, v), f"{name}.attn.to_out")

    def head_norm(self, x, name):
        unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
        return unit * self.weights[name] * math.sqrt(x.shape[-1])

    def pool(self, x):
        name = "encoder.head"
        q = self.linear(self.weights[f"{name}.probe"].reshape(1, -1), f"{name}.attention.to_q")
        k, v = np.split(self.linear(x, f"{name}.attention.to_kv"), 2, axis=-1)
        q, k, v = (part.reshape(len(part), self.heads, -1) for part in (q, k, v))
        attended = self.linear(attention(q, k, v), f"{name}.attention.to_out")
        return (attended + self.mlp(self.norm(attended, f"{name}.layernorm"), f"{name}.mlp"))[0]

    def encode(self, features, coords, stride=4, cache=0):
        """Features (L, patch_dim), coords (L, 4) -> dense (L, d), pooled (d,), moments (L, 2 * channels)."""
        hidden = self.tower("encoder", np.asarray(features, np.float64), np.asarray(coords), stride, cache)
        dense = self.norm(hidden, "encoder.post_layernorm")
        return dense, self.pool(dense), self.linear(dense, "proj")

    def decode(self, latents, coords, stride=4, cache=0):
        """Latents (L, channels), coords (L, 4) -> patches (L, patch_dim)."""
        hidden = self.tower("decoder", np.asarray(latents, np.float64), np.asarray(coords), stride, cache)
        return self.linear(self.norm(hidden, "decoder.out_norm"), "decoder.out_layer")


class GaussianReference:
    """
    The 3D Gaussian decoder, one sample at a time and one window after another.

    Args:
        weights: name -> array, under the released names.
        heads: attention heads.
        resolution, window: voxels along a side of the grid and of an attention window.
    """

    def __init__(self, weights, heads, resolution=64, window=8):
        self.weights = {name: np.asarray(value, dtype=np.float64) for name, value in weights.items()}
        self.heads, self.resolution, self.window = heads, resolution, window

    def positions(self, coords, width):
        table = np.zeros((len(coords), width))
        frequencies = width // 6
        for axis in range(3):
            for k in range(frequencies):
                angle = coords[:, axis] * 10000.0 ** (-k / frequencies)
                table[:, 2 * axis * frequencies + k] = np.sin(angle)
                table[:, (2 * axis + 1) * frequencies + k] = np.cos(angle)
        return table

    def window_attention(self, name, x, coords, shift):
        qkv = x @ self.weights[f"{name}.to_qkv.weight"].T
        width = x.shape[1]
        head_dim = width // self.heads
        out = np.empty_like(x)
        windows = {}
        for token, (i, j, k) in enumerate((coords + shift) // self.window):
            windows.setdefault((i, j, k), []).append(token)
        for tokens in windows.values():
            for head in range(self.heads):
                channels = np.arange(head * head_dim, (head + 1) * head_dim)
                q, k, v = (qkv[np.ix_(tokens, channels + part * width)] for part in range(3))
                logits = 30 * np.tanh(q @ k.T / math.sqrt(head_dim) / 30)
                out[np.ix_(tokens, channels)] = softmax(logits) @ v
        return out @ self.weights[f"{name}.to_out.weight"].T

    def raw(self, features, coords):
        """Features (L, C), coords (L, 3) -> what `out_layer` gives (L, 14 * Gaussians)."""
        features, coords = np.asarray(features, np.float64), np.asarray(coords)
        weights = self.weights
        x = features @ weights["input_layer.weight"].T
        x = x + self.positions(coords, x.shape[1])
        block = 0
        while f"blocks.{block}.norm1.weight" in weights:
            name = f"blocks.{block}"
            shift = 4 if block % 2 else 0
            x = x + self.window_attention(f"{name}.attn", rms_norm(x, weights[f"{name}.norm1.weight"]), coords, shift)
            wide = gelu(rms_norm(x, weights[f"{name}.norm2.weight"]) @ weights[f"{name}.mlp.mlp.0.weight"].T)
            x = x + wide @ weights[f"{name}.mlp.mlp.2.weight"].T
            block += 1
        return layer_norm(x, 1.0, 0.0, eps=1e-5) @ weights["out_layer.weight"].T + weights["out_layer.bias"]

    def decode(self, features, coords):
        """Features (L, C), coords (L, 3) -> the fields of L * Gaussians, by name."""
        raw = self.raw(features, coords)
        count = raw.shape[1] // 14
        offset, color, scale, rotation, opacity = np.split(raw, np.cumsum([3, 3, 3, 4]) * count, axis=1)
        perturbed = offset.reshape(-1, count, 3) + self.weights["offset_perturbation"]
        voxel = (np.asarray(coords)[:, None] + 0.5) / self.resolution
        quats = 0.1 * rotation.reshape(-1, 4) + [1, 0, 0, 0]
        deviation = np.log1p(np.exp(scale.reshape(-1, 3) + math.log(math.exp(0.004) - 1)))
        return {
            "means": (voxel + np.tanh(perturbed) / self.resolution * 0.5 * 1.5 - 0.5).reshape(-1, 3),
            "quats": quats / np.linalg.norm(quats, axis=1, keepdims=True),
            "scales": np.sqrt(deviation**2 + 0.0009**2),
            "opacities": 1 / (1 + np.exp(-opacity.reshape(-1) - math.log(0.1 / 0.9))),
            "sh0": color.reshape(-1, 3),
        }
