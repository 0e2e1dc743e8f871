"""What the generator of images and videos asks of its parts and of what it is called with."""

from typing import Any

from .flow_schedulers_atoken import check_scheduler
from .media_autoencoders_atoken import MediaAutoencoder, describe_autoencoder
from .media_sampling_atoken import media_sampling
from .media_statistics_atoken import check_statistics, check_vae_statistics
from .text_conditions_atoken import TextCondition, pooled_width


def check_media_parts(pipeline: Any) -> None:
    """
    Checks that the parts of a `TextToMediaPipeline` and its configuration fit together.

    Raises:
        ValueError: naming the part that does not fit.
    """
    config, vae = pipeline.transformer.config, pipeline.vae
    channels = describe_autoencoder(vae).channels
    if channels != config.in_channels:
        raise ValueError(f"vae must have the transformer's {config.in_channels} latent channels, got {channels}")
    if config.patch_size_t != 1 or config.guidance_embeds:
        raise ValueError("transformer must have patch_size_t = 1 and no guidance_embeds")
    check_scheduler(pipeline.scheduler, takes_sigmas=True)
    for names in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
        if (getattr(pipeline, names[0]) is None) != (getattr(pipeline, names[1]) is None):
            raise ValueError(f"{names[0]} and {names[1]} must be given together")
    if pipeline.text_encoder is not None:
        given = pipeline.text_encoder.config.hidden_size, pooled_width(pipeline.text_encoder, pipeline.text_encoder_2)
        if given != (config.text_embed_dim, config.pooled_projection_dim):
            raise ValueError(
                f"text_encoder must give states of {config.text_embed_dim} and a vector of "
                f"{config.pooled_projection_dim} channels, as the transformer takes them, got {given[0]} and {given[1]}"
            )
    for name in ("image_statistics", "video_statistics"):
        if pipeline.config[name] is not None:
            check_statistics(name, pipeline.config[name], config.in_channels)
    if pipeline.config.vae_statistics is not None:
        check_vae_statistics(pipeline.config.vae_statistics, vae)
    for frames, name in ((1, "image_sampling"), (2, "video_sampling")):
        media_sampling(frames, (name, pipeline.config[name])).flow(1, 1)


def check_texts(texts: Any, is_encoded: bool) -> None:
    """
    Checks texts, or that there are none where their condition is given.

    Raises:
        ValueError: both or none are given, or they are something else.
    """
    if (texts is None) != is_encoded:
        raise ValueError("prompt must be given, or condition instead of it, but not both")
    if texts is not None:
        _check_are_texts("prompt", texts)


def check_negatives(texts: Any, condition: TextCondition | None, count: int) -> None:
    """
    Checks what guidance leads away from.

    Args:
        texts: None for the empty text.
        condition: given instead of texts; None for none.
        count: of the items that are made.

    Raises:
        ValueError: both are given, or they are neither one nor one for each item, or something else than texts.
    """
    if texts is not None and condition is not None:
        raise ValueError("negative_prompt must be left out where negative_condition is given instead, got both")
    if texts is not None:
        _check_are_texts("negative_prompt", texts)
    for name, given in (("negative_prompt", texts), ("negative_condition", condition)):
        if given is not None and len(given) not in (1, count):
            raise ValueError(f"{name} must be one, or {count}, one for each item that is made, got {len(given)}")


def _check_are_texts(name: str, texts: Any) -> None:
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} must be a text or a list of texts, got {texts!r}")


def check_num_frames(num_frames: Any, autoencoder: MediaAutoencoder) -> None:
    """
    Checks that frames are one, or fill the latent frames of an autoencoder, of which a video has at least two.

    Raises:
        ValueError: they are another number, or a video is asked of an autoencoder of pictures.
    """
    ratio, first = autoencoder.frames, autoencoder.first_frames
    if isinstance(num_frames, int) and not isinstance(num_frames, bool):
        fills = num_frames >= first + ratio and (num_frames - first) % ratio == 0
        if num_frames == 1 or (autoencoder.takes_videos and fills):
            return
    videos = f"1 + {ratio} k" if autoencoder.is_causal else f"a multiple of {ratio} from {2 * ratio} on"
    videos = f", or {videos} for videos" if autoencoder.takes_videos else ", as vae is an autoencoder of pictures"
    raise ValueError(f"num_frames must be 1 for images{videos}, got {num_frames!r}")


def check_condition(name: str, condition: TextCondition | None, config: Any) -> None:
    """
    Checks a condition that is given instead of texts.

    Args:
        name: of the argument, for errors.
        condition: None is left to others.
        config: of the transformer.

    Raises:
        ValueError: its shapes do not fit, a text has no token, or padding is not on the right.
    """
    if condition is None:
        return
    for part, width in (("embeds", config.text_embed_dim), ("pooled", config.pooled_projection_dim)):
        shape = tuple(getattr(condition, part).shape)
        if shape[-1] != width:
            raise ValueError(f"{name} must have {part} of {width} channels, got {shape}")
    shape = tuple(condition.embeds.shape[:2])
    if tuple(condition.mask.shape) != shape:
        raise ValueError(f"{name} must have a mask of shape {shape}, got {tuple(condition.mask.shape)}")
    mask = condition.mask.bool()
    if not mask[:, 0].all() or (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError(f"{name} must have at least one token of each text, and its padding on the right")
