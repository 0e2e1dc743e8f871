"""Official checkpoint files and SigLIP2 to our models, and back."""

import re
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import Siglip2TextModel, Siglip2VisionModel

from .configuration_atoken import AtokenConfig, AtokenVisionConfig
from .modeling_atoken import AtokenModel, AtokenVisionModel

# As the Hub writes it; conversion puts it into the configuration.
OFFICIAL_LICENSE = "apple-research-model-license"

# Our names on the left, the released ones on the right; applied in this order.
_RENAMES = [
    (r"^vision_model\.", "encoder."),
    (r"^latent_proj\.", "proj."),
    (r"\.position_embedding\.weight$", ".pos_embedder.position_embedding.weight"),
    (r"\.attn\.qkv\.", ".attn.to_qkv."),
    (r"\.attn\.out_proj\.", ".attn.to_out."),
    (r"\.attn\.([qk])_norm\.weight$", r".attn.\1_rms_norm.gamma"),
    (r"\.attention\.(q|kv|out)_proj\.", r".attention.to_\1."),
    (r"\.mlp\.fc1\.", ".mlp.mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.mlp.2."),
]


def _released_name(name: str) -> str:
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _released_names(model: AtokenModel) -> dict[str, str]:
    """Our name -> the released one, for the parts of the model that released files hold."""
    parts = ("vision_model", "latent_proj", "decoder")
    return {name: _released_name(name) for name in model.state_dict() if name.split(".")[0] in parts}


def read_original_state_dict(path: str | Path) -> dict[str, torch.Tensor]:
    """
    Reads the tensors of a released `.pt` file. The pickle is restricted to tensors, so a file cannot run code.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a state dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"path: {path} cannot be read as a checkpoint of tensors: {error}") from error
    # Trainers wrap the weights in one of these.
    for key in ("state_dict", "model", "module"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ValueError(f"path: {path} does not hold a state dict of tensors")
    return dict(state)


def _depth(state: dict[str, torch.Tensor], prefix: str) -> int:
    pattern = re.compile(rf"^{re.escape(prefix)}\.blocks\.(\d+)\.")
    return 1 + max((int(m.group(1)) for m in map(pattern.match, state) if m), default=-1)


def _default_heads(width: int) -> int | None:
    # 16 heads at the released width of 1152 and 12 at 768.
    return {1152: 16, 768: 12}.get(width)


def config_from_original(
    state: dict[str, torch.Tensor],
    quantizer: str | None = None,
    encoder_num_heads: int | None = None,
    text_config=None,
) -> AtokenConfig:
    """
    Reads all sizes from the tensors. What they do not show comes from the arguments, see
    [`convert_original_checkpoint`].
    """
    required = {
        "encoder.input_layer.weight",
        "encoder.pos_embedder.position_embedding.weight",
        "encoder.blocks.0.mlp.mlp.0.weight",
        "proj.weight",
        "decoder.input_layer.weight",
        "decoder.pos_embedder.position_embedding.weight",
        "decoder.blocks.0.mlp.mlp.0.weight",
        "decoder.blocks.0.attn.q_rms_norm.gamma",
        "decoder.out_layer.weight",
    }
    missing = sorted(required - state.keys())
    if missing:
        raise ValueError(f"path: this is not an AToken checkpoint, it lacks {', '.join(missing)}")
    if quantizer not in (None, "fsq"):
        raise ValueError(f'quantizer must be None or "fsq", got {quantizer!r}')
    for name in sorted(required):
        if state[name].ndim != 2:
            raise ValueError(f"path: {name} must be a matrix, got shape {tuple(state[name].shape)}")
    width, patch_dim = state["encoder.input_layer.weight"].shape
    heads = _default_heads(width) if encoder_num_heads is None else encoder_num_heads
    if heads is None:
        raise ValueError(
            f"encoder_num_heads must be given: the tensors do not show it, and a width of {width} is no released size"
        )
    if heads < 1 or width % heads or width // heads % 8:
        raise ValueError(
            f"encoder_num_heads must divide the encoder's width, {width}, into heads of a multiple of 8 channels, got "
            f"{heads}"
        )
    patch_size = [4, 16, 16]
    if patch_dim != 3072:
        raise ValueError(f"path: patches of 4 x 16 x 16 x 3 = 3072 values are expected, the checkpoint has {patch_dim}")
    decoder_width = state["decoder.input_layer.weight"].shape[0]
    latent_channels = state["decoder.input_layer.weight"].shape[1]
    try:
        return AtokenConfig(
            weights_license=OFFICIAL_LICENSE,
            vision_config={
                "hidden_size": width,
                "intermediate_size": state["encoder.blocks.0.mlp.mlp.0.weight"].shape[0],
                "num_hidden_layers": _depth(state, "encoder"),
                "num_attention_heads": heads,
                "patch_size": patch_size,
                "position_embedding_size": round(
                    state["encoder.pos_embedder.position_embedding.weight"].shape[0] ** 0.5
                ),
                "vision_use_head": "encoder.head.probe" in state,
            },
            decoder_config={
                "hidden_size": decoder_width,
                "intermediate_size": state["decoder.blocks.0.mlp.mlp.0.weight"].shape[0],
                "num_hidden_layers": _depth(state, "decoder"),
                "num_attention_heads": state["decoder.blocks.0.attn.q_rms_norm.gamma"].shape[0],
                "patch_size": patch_size,
                "position_embedding_size": round(
                    state["decoder.pos_embedder.position_embedding.weight"].shape[0] ** 0.5
                ),
            },
            quantizer_config={} if quantizer == "fsq" else None,
            text_config=text_config,
            latent_channels=latent_channels,
        )
    except StrictDataclassError as error:
        raise ValueError(f"path and the options given do not fit together: {error}") from error


def convert_original_checkpoint(
    path: str | Path,
    *,
    quantizer: str | None = None,
    encoder_num_heads: int | None = None,
    text_tower: str | Path | None = None,
) -> AtokenModel:
    """
    Converts a released AToken file to an [`AtokenModel`].

    Args:
        path: the `.pt` file (or a `.safetensors` file with the same names).
        quantizer: "fsq" for `atoken-sod`, whose codes are quantized; tensors do not show it. Default: continuous.
        encoder_num_heads: heads of the encoder, which tensors do not show. Default: the released sizes' (16 at width
            1152, 12 at width 768).
        text_tower: folder or Hub name of a SigLIP2 model whose text tower goes along, with its logit scale and bias.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not an AToken checkpoint, or a key is left over or missing (each is named).
    """
    state = read_original_state_dict(path)
    text_model, logits = _load_text_tower(text_tower) if text_tower is not None else (None, {})
    config = config_from_original(
        state, quantizer, encoder_num_heads, text_model.config.to_dict() if text_model is not None else None
    )
    model = AtokenModel(config)
    ours, names = model.state_dict(), _released_names(model)
    unexpected, missing = sorted(state.keys() - set(names.values())), sorted(set(names.values()) - state.keys())
    if unexpected or missing:
        raise ValueError(
            f"path: {path} has keys without a place: {unexpected or 'none'}; and lacks keys: {missing or 'none'}"
        )
    if "encoder.head.probe" in state:
        state["encoder.head.probe"] = state["encoder.head.probe"].reshape(-1)  # some code keeps it as (1, 1, d)
    for name, released in names.items():
        given, expected = tuple(state[released].shape), tuple(ours[name].shape)
        if given != expected:
            raise ValueError(f"path: {released} of {path} must have shape {expected}, got {given}")
    model.load_state_dict({name: state[released] for name, released in names.items()}, strict=False)
    if text_model is not None:
        model.text_model.load_state_dict(text_model.state_dict())
        with torch.no_grad():
            for name, value in logits.items():
                getattr(model, name).copy_(value.reshape(1))
    return model.eval()


def _load_text_tower(source: str | Path) -> tuple[Siglip2TextModel, dict[str, torch.Tensor]]:
    """The text tower of a SigLIP2 checkpoint, or a text model of its own, and the logit scale and bias if there."""
    from transformers import AutoConfig, AutoModel

    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ValueError(f"text_tower: {source} cannot be read as a model: {error}") from error
    if config.model_type in ("siglip2", "siglip"):
        whole = AutoModel.from_pretrained(source)
        logits = {"logit_scale": whole.logit_scale.detach(), "logit_bias": whole.logit_bias.detach()}
        if config.model_type == "siglip2":
            return whole.text_model, logits
        # The fixed-resolution SigLIP2 checkpoints are published under SigLIP's classes, with equal text towers.
        text = Siglip2TextModel._from_config(_as_siglip2_text(config.text_config))
        text.load_state_dict(whole.text_model.state_dict())
        return text, logits
    if config.model_type == "siglip2_text_model":
        return Siglip2TextModel.from_pretrained(source), {}
    raise ValueError(f"text_tower must be a SigLIP2 model or its text tower, {source} is a {config.model_type!r}")


def _as_siglip2_text(config):
    from transformers import Siglip2TextConfig

    return Siglip2TextConfig(**{k: v for k, v in config.to_dict().items() if k != "model_type"})


def to_original_state_dict(model: AtokenModel) -> dict[str, torch.Tensor]:
    """Names encoder, latent projection and decoder as the released files do (the reverse of the conversion)."""
    state = model.state_dict()
    return {released: state[name] for name, released in _released_names(model).items()}


def vision_model_from_siglip2(siglip2_vision_model: Siglip2VisionModel) -> AtokenVisionModel:
    """
    Makes an encoder that starts from SigLIP2 (paper, section 3.2; stage 1 of the curriculum).

    SigLIP2's patch embedding goes to the first frame, the other frames' weights are zero. With `use_rope=False` the
    result reproduces the SigLIP2 tower on any image.

    Args:
        siglip2_vision_model: transformers' model; its patches must be 16 x 16.

    Raises:
        ValueError: if the model has another patch size or no square position table.
    """
    source = siglip2_vision_model.config
    if source.patch_size != 16:
        raise ValueError(f"siglip2_vision_model must have patches of 16 x 16, got {source.patch_size}")
    side = round(source.num_patches**0.5)
    if side * side != source.num_patches:
        raise ValueError(f"siglip2_vision_model must have a square position table, got {source.num_patches} positions")
    config = AtokenVisionConfig(
        hidden_size=source.hidden_size,
        intermediate_size=source.intermediate_size,
        num_hidden_layers=source.num_hidden_layers,
        num_attention_heads=source.num_attention_heads,
        num_channels=source.num_channels,
        hidden_act=source.hidden_act,
        layer_norm_eps=source.layer_norm_eps,
        position_embedding_size=side,
        vision_use_head=siglip2_vision_model.use_head,
    )
    old = siglip2_vision_model.state_dict()
    embedding = old["embeddings.patch_embedding.weight"]
    new = {
        "input_layer.weight": torch.nn.functional.pad(embedding, (0, config.patch_dim - embedding.shape[1])),
        "input_layer.bias": old["embeddings.patch_embedding.bias"],
        "position_embedding.weight": old["embeddings.position_embedding.weight"],
        "post_layernorm.weight": old["post_layernorm.weight"],
        "post_layernorm.bias": old["post_layernorm.bias"],
    }
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"encoder.layers.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            qkv = [old[f"{theirs}self_attn.{name}_proj.{kind}"] for name in "qkv"]
            new[f"{ours}attn.qkv.{kind}"] = torch.cat(qkv)
            new[f"{ours}attn.out_proj.{kind}"] = old[f"{theirs}self_attn.out_proj.{kind}"]
            for name in ("1", "2"):
                new[f"{ours}norm{name}.{kind}"] = old[f"{theirs}layer_norm{name}.{kind}"]
                new[f"{ours}mlp.fc{name}.{kind}"] = old[f"{theirs}mlp.fc{name}.{kind}"]
    if siglip2_vision_model.use_head:
        new["head.probe"] = old["head.probe"].flatten()
        for kind in ("weight", "bias"):
            q, kv = old[f"head.attention.in_proj_{kind}"].split([config.hidden_size, 2 * config.hidden_size])
            new[f"head.attention.q_proj.{kind}"], new[f"head.attention.kv_proj.{kind}"] = q, kv
            new[f"head.attention.out_proj.{kind}"] = old[f"head.attention.out_proj.{kind}"]
            new[f"head.layernorm.{kind}"] = old[f"head.layernorm.{kind}"]
            for name in ("fc1", "fc2"):
                new[f"head.mlp.{name}.{kind}"] = old[f"head.mlp.{name}.{kind}"]
    model = AtokenVisionModel(config)
    model.load_state_dict(new)
    return model.to(embedding.dtype).eval()
