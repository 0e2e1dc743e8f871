"""The models that a tokenizer's training starts from and is taught by: AToken, or SigLIP 2 before the first stage."""

import torch
from transformers import AutoConfig, AutoTokenizer, Siglip2Model

from atoken import AtokenConfig, AtokenModel, AtokenVisionModel
from atoken.conversion_atoken import vision_model_from_siglip2
from atoken.processing import AtokenProcessor


def load_start(start: str) -> tuple[AtokenModel, AtokenProcessor]:
    """
    Loads the model that a stage starts from, in float32, with its processor.

    Args:
        start: folder or Hub name of an AToken checkpoint, or of SigLIP 2 (NaFlex), for stage 1.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is of another kind, or has no text tower or tokenizer.
    """
    kind = _model_type(start, "start")
    if kind == "siglip2":
        return _start_from_siglip2(start)
    if kind != "atoken":
        raise ValueError(f"start must be an AToken or SigLIP 2 model, got {start}, which is {kind!r}")
    model = AtokenModel.from_pretrained(start, dtype=torch.float32)
    processor = AtokenProcessor.from_pretrained(start)
    if model.text_model is None or processor.tokenizer is None:
        raise ValueError(
            f"start must have a text tower and a tokenizer, which understanding needs, got {start}; `atoken convert` "
            "takes them over"
        )
    return model, processor


def load_teacher(teacher: str) -> tuple[AtokenVisionModel, float]:
    """
    Loads the frozen vision tower that images are distilled from, and the logarithm of its scale.

    Args:
        teacher: folder or Hub name of SigLIP 2 (NaFlex), or of an AToken checkpoint with a text tower.

    Raises:
        FileNotFoundError, ValueError: see `load_start`.
    """
    kind = _model_type(teacher, "teacher")
    if kind == "siglip2":
        whole = _siglip2(teacher)
        tower = vision_model_from_siglip2(whole.vision_model)
        tower.config.use_rope = False  # it reproduces SigLIP 2 then
        return tower, float(whole.logit_scale.detach())
    if kind != "atoken":
        raise ValueError(f"teacher must be an AToken or SigLIP 2 model, got {teacher}, which is {kind!r}")
    model = AtokenModel.from_pretrained(teacher, dtype=torch.float32)
    return model.vision_model, float(model.logit_scale.detach())


def _model_type(name: str, argument: str) -> str:
    try:
        return AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{argument}: {name} is neither a folder of a model nor could it be downloaded. To get it: "
            f"hf download {name} --local-dir FOLDER, then name FOLDER"
        ) from error


def _siglip2(name: str) -> Siglip2Model:
    return Siglip2Model.from_pretrained(name, dtype=torch.float32)


def _start_from_siglip2(name: str) -> tuple[AtokenModel, AtokenProcessor]:
    whole = _siglip2(name)
    tower = vision_model_from_siglip2(whole.vision_model)
    vision = tower.config
    same = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    config = AtokenConfig(
        vision_config=vision,
        decoder_config={each: getattr(vision, each) for each in same},
        text_config=whole.text_model.config,
        latent_channels=32,
        # Both towers are SigLIP 2's, and so are their calibrated scale and bias; `SIGMOID_SCALE` is for new towers.
        logit_scale_init_value=float(whole.logit_scale.detach()),
        logit_bias_init_value=float(whole.logit_bias.detach()),
    )
    model = AtokenModel(config)
    model.vision_model.load_state_dict(tower.state_dict())
    model.text_model.load_state_dict(whole.text_model.state_dict())
    return model.float(), AtokenProcessor(tokenizer=AutoTokenizer.from_pretrained(name))
