"""Released checkpoints of Lightning-DiT, TokenBridge and TRELLIS's generators to our models, and back."""

import re
from collections.abc import Sequence

import torch

from .autoencoder_sparse_structure_atoken import SparseStructureAutoencoder
from .code_values_atoken import LATENT_RANGE, NORMAL_RANGE
from .conditioned_flow_atoken import ConditionedFlowModel
from .released_weights_atoken import Source, depth_of, load_renamed, read_state, renamed, require_keys
from .transformer_lightning_dit_atoken import PRESETS as LIGHTNING_PRESETS
from .transformer_lightning_dit_atoken import LightningDiTTransformer2DModel
from .transformer_sparse_structure_atoken import SparseStructureFlowModel
from .transformer_structured_latent_atoken import StructuredLatentFlowModel
from .transformer_token_bridge_atoken import TokenBridgeModel

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
_STRUCTURE_HALF = [
    (r"^conv_in\.", "input_layer."),
    (r"^mid_blocks\.", "middle_block."),
    (r"^norm_out\.", "out_layer.0."),
    (r"^conv_out\.", "out_layer.2."),
]
_CONDITIONED_FLOW = [
    (r"^time_embed\.linear_1\.", "t_embedder.mlp.0."),
    (r"^time_embed\.linear_2\.", "t_embedder.mlp.2."),
    (r"^proj_in\.", "input_layer."),
    (r"^proj_out\.", "out_layer."),
    (r"^transformer_blocks\.", "blocks."),
    (r"^output_blocks\.", "out_blocks."),
    (r"\.norm_([qk])\.weight$", r".\1_rms_norm.gamma"),
    (r"\.attn\.", ".self_attn."),
    (r"\.mlp\.net\.0\.proj\.", ".mlp.mlp.0."),
    (r"\.mlp\.net\.2\.", ".mlp.mlp.2."),
    (r"\.modulation\.linear\.", ".adaLN_modulation.1."),
    (r"\.(conv[12])\.(weight|bias)$", r".\1.conv.\2"),
    (r"\.time_proj\.", ".emb_layers.1."),
    (r"\.skip\.", ".skip_connection."),
]
# Buffers of the released files that follow from sizes.
_COMPUTED_LIGHTNING = ("feat_rope.freqs_cos", "feat_rope.freqs_sin")
_COMPUTED_TOKEN_BRIDGE = ("channel_mask", "boundaries")
_FLOW_KEYS = (
    "input_layer.weight",
    "blocks.0.norm2.weight",
    "blocks.0.cross_attn.to_kv.weight",
    "blocks.0.mlp.mlp.0.weight",
)
_COMPUTED_STRUCTURE_FLOW = ("pos_emb",)
_POSITION_TOLERANCE = 1e-3  # half precision's, in which the table may be stored
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
    state = read_state(path, ("ema", "model"))
    require_keys(
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
        num_layers=depth_of(state, "blocks"),
        num_attention_heads=heads,
        attention_head_dim=width // heads,
        num_classes=state["y_embedder.embedding_table.weight"].shape[0] - 1,
        qk_norm="blocks.0.attn.q_norm.weight" in state,
    )
    load_renamed(model, state, _LIGHTNING, _COMPUTED_LIGHTNING)
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
    state = read_state(path, ("model_ema", "model"))
    table = state.pop("reconstruction_values", None)
    require_keys(
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
        encoder_num_layers=depth_of(state, "encoder_blocks"),
        encoder_num_attention_heads=encoder_num_heads,
        decoder_hidden_size=inner,
        decoder_num_layers=depth_of(state, "decoder_blocks"),
        decoder_num_attention_heads=decoder_num_heads,
        head_hidden_size=head_width,
        head_num_layers=depth_of(state, "channel_blocks"),
        head_num_attention_heads=head_num_heads or head_width // (head_width if norm is None else norm.shape[0]),
        buffer_size=state["encoder_pos_embed_learned"].shape[1] - positions,
        num_classes=state["class_emb.weight"].shape[0],
    )
    load_renamed(model, state, _TOKEN_BRIDGE, _COMPUTED_TOKEN_BRIDGE)
    if code_values is None and table is not None and code_levels is None:
        code_values = table.reshape(-1, 1) * LATENT_RANGE / NORMAL_RANGE
    if code_values is not None:
        if code_values.shape != model.code_values.shape:
            raise ValueError(f"code_values must be {tuple(model.code_values.shape)}, got {tuple(code_values.shape)}")
        model.code_values.copy_(code_values)
    return model.eval()


def convert_sparse_structure_autoencoder(encoder: Source, decoder: Source) -> SparseStructureAutoencoder:
    """
    Converts the two halves of TRELLIS's structure VAE.

    Args:
        encoder, decoder: the files, or state dicts with their names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, or a key is left over or missing (each is named), or the halves do not fit
            together.
    """
    states = {"encoder": read_state(encoder, (), "encoder"), "decoder": read_state(decoder, (), "decoder")}
    sizes = {name: _structure_sizes(state, name) for name, state in states.items()}
    if sizes["encoder"] != sizes["decoder"]:
        raise ValueError(f"encoder and decoder must have the same sizes, got {sizes['encoder']} and {sizes['decoder']}")
    model = SparseStructureAutoencoder(**sizes["encoder"])
    for name, state in states.items():
        load_renamed(getattr(model, name), state, _STRUCTURE_HALF, argument=name)
    return model.eval()


def convert_sparse_structure_flow(file: Source, *, num_attention_heads: int | None = None) -> SparseStructureFlowModel:
    """
    Converts TRELLIS's first stage, from a condition to the structure's latents.

    Args:
        file: the file, or a state dict with its names.
        num_attention_heads: where the norms of heads do not show them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, or a key is left over or missing (each is named), or heads are not known,
            or its table of positions is another than a cube's.
    """
    state = read_state(file, (), "file")
    require_keys(state, ("pos_emb", *_FLOW_KEYS), "file")
    side = round(state["pos_emb"].shape[0] ** (1 / 3))
    sizes = _flow_sizes(state, state["blocks.0.norm2.weight"].shape[0], num_attention_heads)
    model = SparseStructureFlowModel(sample_size=side, in_channels=state["input_layer.weight"].shape[1], **sizes)
    load_renamed(model, state, _CONDITIONED_FLOW, _COMPUTED_STRUCTURE_FLOW, "file")
    table, computed = state["pos_emb"].float(), model.position_table()
    if table.shape != computed.shape or float((table - computed).abs().max()) > _POSITION_TOLERANCE:
        raise ValueError("file: pos_emb must hold the sines and cosines of a cube's places, got other values")
    return model.eval()


def convert_structured_latent_flow(
    file: Source, *, num_attention_heads: int | None = None, pool_counts_zero: bool = True
) -> StructuredLatentFlowModel:
    """
    Converts TRELLIS's second stage, from a condition to the latents of voxels.

    Args:
        file: the file, or a state dict with its names.
        num_attention_heads: where the norms of heads do not show them.
        pool_counts_zero: whether the code that trained it divides by one voxel too many, see
            [`StructuredLatentFlowModel`]; TRELLIS's does.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such checkpoint, or a key is left over or missing (each is named), or heads are not known.
    """
    state = read_state(file, (), "file")
    require_keys(state, ("input_blocks.0.norm1.weight", *_FLOW_KEYS), "file")
    inner, channels = state["input_layer.weight"].shape
    model = StructuredLatentFlowModel(
        in_channels=channels,
        io_channels=inner,
        io_layers=depth_of(state, "input_blocks"),
        pool_counts_zero=pool_counts_zero,
        **_flow_sizes(state, state["blocks.0.norm2.weight"].shape[0], num_attention_heads),
    )
    load_renamed(model, state, _CONDITIONED_FLOW, argument="file")
    return model.eval()


def to_official_lightning_dit(model: LightningDiTTransformer2DModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of the authors' code, without the buffers that follow from sizes."""
    return {renamed(name, _LIGHTNING): value for name, value in model.state_dict().items()}


def to_official_token_bridge(model: TokenBridgeModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of the authors' code, without buffers."""
    return {renamed(name, _TOKEN_BRIDGE): value for name, value in model.named_parameters()}


def to_official_sparse_structure_autoencoder(
    model: SparseStructureAutoencoder,
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gives the weights of encoder and of decoder under the names of TRELLIS's files."""
    halves = (model.encoder, model.decoder)
    encoder, decoder = (
        {renamed(name, _STRUCTURE_HALF): value for name, value in half.state_dict().items()} for half in halves
    )
    return encoder, decoder


def to_official_sparse_structure_flow(model: SparseStructureFlowModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of TRELLIS's files, with their table of positions."""
    return {**_official_flow(model), "pos_emb": model.position_table()}


def to_official_structured_latent_flow(model: StructuredLatentFlowModel) -> dict[str, torch.Tensor]:
    """Gives the weights under the names of TRELLIS's files."""
    return _official_flow(model)


def _official_flow(model: ConditionedFlowModel) -> dict[str, torch.Tensor]:
    return {renamed(name, _CONDITIONED_FLOW): value for name, value in model.state_dict().items()}


def _structure_sizes(state: dict[str, torch.Tensor], half: str) -> dict[str, object]:
    """Reads the configuration of the structure VAE from one of its halves, `encoder` or `decoder`."""
    require_keys(state, ("input_layer.weight", "out_layer.2.weight"), half)
    changes = sorted(int(name.split(".")[1]) for name in state if re.fullmatch(r"blocks\.\d+\.conv\.weight", name))
    is_encoder = half == "encoder"
    width, inputs = state["input_layer.weight"].shape[:2]
    outputs = state["out_layer.2.weight"].shape[0]
    widths = [width, *(state[f"blocks.{index}.conv.weight"].shape[0] // (1 if is_encoder else 8) for index in changes)]
    return {
        "in_channels": inputs if is_encoder else outputs,
        "latent_channels": outputs // 2 if is_encoder else inputs,
        "block_out_channels": tuple(widths if is_encoder else widths[::-1]),
        "layers_per_block": changes[0] if changes else depth_of(state, "blocks"),
        "mid_layers": depth_of(state, "middle_block"),
    }


def _flow_sizes(state: dict[str, torch.Tensor], width: int, heads: int | None) -> dict[str, object]:
    """Reads the configuration of a flow's blocks from its tensors."""
    norm = state.get("blocks.0.self_attn.q_rms_norm.gamma")
    if heads is None and norm is None:
        raise ValueError("num_attention_heads must be given: no tensor of file shows it")
    heads = heads or norm.shape[0]
    if heads < 1 or width % heads:
        raise ValueError(f"num_attention_heads must divide the width {width}, got {heads}")
    return {
        "num_layers": depth_of(state, "blocks"),
        "num_attention_heads": heads,
        "attention_head_dim": width // heads,
        "cross_attention_dim": state["blocks.0.cross_attn.to_kv.weight"].shape[1],
        "mlp_ratio": state["blocks.0.mlp.mlp.0.weight"].shape[0] / width,
        "qk_norm": norm is not None,
        "qk_norm_cross": "blocks.0.cross_attn.q_rms_norm.gamma" in state,
    }


def _lightning_heads(state: dict[str, torch.Tensor], width: int) -> int | None:
    for name, dimension in (("blocks.0.attn.q_norm.weight", 0), ("feat_rope.freqs_cos", 1)):
        if name in state:
            return width // state[name].shape[dimension]
    return _HEADS_OF_WIDTH.get(width)
