"""Released checkpoints of Lightning-DiT and TokenBridge to our models, and back."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from .code_values_atoken import LATENT_RANGE, NORMAL_RANGE
from .transformer_lightning_dit_atoken import PRESETS as LIGHTNING_PRESETS
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel
from .transformer_token_bridge_atoken import TokenBridgeModel

Source = str | Path | dict[str, torch.Tensor]

# Our names on the left, the released ones on the right; applied in this order.
_LIGHTNING = [
    (r"^patch_embed\.", "x_embedder.proj."),
    (r"^time_embed\.linear_1\.", "t_embedder.mlp.0."),
    (r"^time_embed\.linear_2\.", "t_embedder.mlp.2."),
    (r"^label_embed\.", "y_embedder.embedding_table."),
    (r"^transformer_blocks\.", "blocks."),
    (r"\.mlp\.proj_in\.", ".mlp.w12."),
    (r"\.mlp\.proj_out\.", ".mlp.w3."),
    (r"\.attn\.to_qkv\.", ".attn.qkv."),
    (r"\.attn\.to_out\.", ".attn.proj."),
    (r"\.attn\.norm_([qk])\.", r".attn.\1_norm."),
    (r"\.modulation\.linear\.", ".adaLN_modulation.1."),
    (r"^norm_out\.", "final_layer.norm_final."),
    (r"^modulation_out\.linear\.", "final_layer.adaLN_modulation.1."),
    (r"^proj_out\.", "final_layer.linear."),
]
_TOKEN_BRIDGE = [
    (r"^input_proj\.", "z_proj."),
    (r"^input_norm\.", "z_proj_ln."),
    (r"^class_embed\.", "class_emb."),
    (r"^no_class_embed$", "fake_latent"),
    (r"^(encoder|decoder)_position$", r"\1_pos_embed_learned"),
    (r"^output_position$", "output_pos_embed"),
    (r"^decoder_proj\.", "decoder_embed."),
    (r"^head\.condition_proj\.", "condition_proj."),
    (r"^head\.element_embed$", "channel_embed"),
    (r"^head\.condition_embed$", "timesteps_embeddings"),
    (r"^head\.code_embeds\.", "token_embeddings."),
    (r"^head\.code_outputs\.", "channel_heads."),
    (r"^head\.modulation_out\.linear\.", "channel_final.adaLN_modulation.1."),
    (r"^head\.(norm|blocks)\.", r"channel_\1."),
    (r"\.attn\.to_qkv\.", ".attn.qkv."),
    (r"\.attn\.to_out\.", ".attn.proj."),
    (r"\.attn\.norm_([qk])\.", r".attn.\1_norm."),
    (r"\.modulation\.linear\.", ".adaLN_modulation.1."),
]
# Buffers of the released files that follow from sizes.
_COMPUTED_LIGHTNING = ("feat_rope.freqs_cos", "feat_rope.freqs_sin")
_COMPUTED_TOKEN_BRIDGE = ("channel_mask", "boundaries")
_HEADS_OF_WIDTH = {width: heads for width, _, heads in LIGHTNING_PRESETS.values() if width >= 768}


def convert_lightning_dit(path: Source, *, num_attention_heads: int | None = None) -> LightningDiTTransformer2DModel:
    """
    Converts a released Lightning-DiT file, whose averaged weights (`ema`) are taken.

    Args:
        path: the file, or a state dict with its names.
        num_attention_heads: where neither the file's rotations nor its norms of heads show them; default: the published
            size's of that width.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, or a key is left over or missing (each is named), or heads are not known.
    """
    state = _read(path, ("ema", "model"))
    _require(
        state, ("x_embedder.proj.weight", "pos_embed", "y_embedder.embedding_table.weight", "blocks.0.norm1.weight")
    )
    width, channels, patch, _ = state["x_embedder.proj.weight"].shape
    heads = num_attention_heads or _lightning_heads(state, width)
    if heads is None:
        raise ValueError(f"num_attention_heads must be given: no tensor shows it, and {width} is no published width")
    if width % heads or width // heads % 4:
        raise ValueError(f"num_attention_heads must divide the width {width} into multiples of 4, got {heads}")
    model = LightningDiTTransformer2DModel(
        sample_size=round(state["pos_embed"].shape[1] ** 0.5) * patch,
        patch_size=patch,
        in_channels=channels,
        num_layers=_depth(state, "blocks"),
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        num_classes=state["y_embedder.embedding_table.weight"].shape[0] - 1,
        qk_norm="blocks.0.attn.q_norm.weight" in state,
    )
    _load(model, state, _LIGHTNING, _COMPUTED_LIGHTNING)
    return model.eval()


def convert_token_bridge(
    path: Source,
    *,
    encoder_num_heads: int,
    decoder_num_heads: int,
    head_num_heads: int | None = None,
    code_levels: int | None = None,
    code_values: torch.Tensor | None = None,
    code_order: Sequence[int] | None = None,
) -> TokenBridgeModel:
    """
    Converts a released TokenBridge file, whose averaged weights (`model_ema`) are taken.

    Args:
        path: the file, or a state dict with its names.
        encoder_num_heads, decoder_num_heads: of the backbone, which tensors do not show.
        head_num_heads: of the head, where the norms of its heads do not show them.
        code_levels: of finite scalar quantization, for models of codes of several channels.
        code_values: (V, c), what codes stand for. Default: the file's own table, else those of `code_levels`.
        code_order: which code of a position is drawn first, second, ...; default 0, 1, ...

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, or a key is left over or missing (each is named), or sizes do not fit.
    """
    state = _read(path, ("model_ema", "model"))
    table = state.pop("reconstruction_values", None)
    _require(
        state, ("z_proj.weight", "class_emb.weight", "channel_embed", "channel_heads.0.weight", "output_pos_embed")
    )
    width, inputs = state["z_proj.weight"].shape
    inner, head_width = state["decoder_embed.weight"].shape[0], state["condition_proj.weight"].shape[0]
    num_codes, positions = state["channel_embed"].shape[1], state["output_pos_embed"].shape[1]
    norm = state.get("channel_blocks.0.attn.q_norm.weight")
    if inputs % num_codes:
        raise ValueError(f"path: {num_codes} codes cannot have {inputs} values together")
    model = TokenBridgeModel(
        sample_size=round(positions**0.5),
        num_codes=num_codes,
        codebook_size=state["channel_heads.0.weight"].shape[0],
        code_channels=inputs // num_codes,
        code_levels=code_levels,
        code_order=None if code_order is None else list(code_order),
        encoder_hidden_size=width,
        encoder_num_layers=_depth(state, "encoder_blocks"),
        encoder_num_attention_heads=encoder_num_heads,
        decoder_hidden_size=inner,
        decoder_num_layers=_depth(state, "decoder_blocks"),
        decoder_num_attention_heads=decoder_num_heads,
        head_hidden_size=head_width,
        head_num_layers=_depth(state, "channel_blocks"),
        head_num_attention_heads=head_num_heads or head_width // (head_width if norm is None else norm.shape[0]),
        buffer_size=state["encoder_pos_embed_learned"].shape[1] - positions,
        num_classes=state["class_emb.weight"].shape[0],
    )
    _load(model, state, _TOKEN_BRIDGE, _COMPUTED_TOKEN_BRIDGE)
    if code_values is None and table is not None and code_levels is None:
        code_values = table.reshape(-1, 1) * LATENT_RANGE / NORMAL_RANGE
    if code_values is not None:
        if code_values.shape != model.code_values.shape:
            raise ValueError(f"code_values must be {tuple(model.code_values.shape)}, got {tuple(code_values.shape)}")
        model.code_values.copy_(code_values)
    return model.eval()


def to_official_lightning_dit(model: LightningDiTTransformer2DModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of the authors' code, without the buffers that follow from sizes."""
    return {_renamed(name, _LIGHTNING): value for name, value in model.state_dict().items()}


def to_official_token_bridge(model: TokenBridgeModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of the authors' code, without buffers."""
    return {_renamed(name, _TOKEN_BRIDGE): value for name, value in model.named_parameters()}


def _read(source: Source, wrappers: tuple[str, ...]) -> dict[str, torch.Tensor]:
    if isinstance(source, dict):
        state: object = source
    else:
        path = Path(source)
        if not path.is_file():
            raise FileNotFoundError(f"path: there is no file {path}")
        try:
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                state = load_file(path)
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(f"path: {path} cannot be read as a checkpoint of tensors: {error}") from error
    for key in wrappers:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("path must hold a state dict of tensors, got something else")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _require(state: dict[str, torch.Tensor], names: Sequence[str]) -> None:
    missing = [name for name in names if name not in state]
    if missing:
        raise ValueError(f"path: this is no checkpoint of this generator, it lacks {', '.join(missing)}")


def _depth(state: dict[str, torch.Tensor], blocks: str) -> int:
    found = (re.match(rf"{blocks}\.(\d+)\.", name) for name in state)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _lightning_heads(state: dict[str, torch.Tensor], width: int) -> int | None:
    for name, dimension in (("blocks.0.attn.q_norm.weight", 0), ("feat_rope.freqs_cos", 1)):
        if name in state:
            return width // state[name].shape[dimension]
    return _HEADS_OF_WIDTH.get(width)


def _renamed(name: str, renames: list[tuple[str, str]]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _load(
    model: ModelMixin, state: dict[str, torch.Tensor], renames: list[tuple[str, str]], computed: Sequence[str]
) -> None:
    """Copies a released state dict into a model, each key into its place."""
    ours: dict[str, nn.Parameter] = dict(model.named_parameters())
    names = {name: _renamed(name, renames) for name in ours}
    unexpected = sorted(state.keys() - set(names.values()) - set(computed))
    missing = sorted(set(names.values()) - state.keys())
    if unexpected or missing:
        raise ValueError(f"path has keys without a place: {unexpected or 'none'}; and lacks keys: {missing or 'none'}")
    for name, released in names.items():
        given, expected = tuple(state[released].shape), tuple(ours[name].shape)
        if given != expected:
            raise ValueError(f"path: {released} must have shape {expected}, got {given}")
    with torch.no_grad():
        for name, released in names.items():
            ours[name].copy_(state[released])
