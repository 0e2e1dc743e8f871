"""The names that a configuration may use for sets, and the functions behind them."""

from collections.abc import Callable
from typing import Any

from .interface import EvaluationSet
from .options import check_options, find
from .sets.array_sets import adm_reference
from .sets.caption_sets import geneval_prompts, prompt_file, vbench_prompts
from .sets.image_sets import coco, flickr30k, hub_images, image_folder, imagenet_v2, imagenet_val, labeled_folder
from .sets.miniature_sets import miniature_captions, miniature_classification, miniature_objects, miniature_retrieval
from .sets.object_sets import object_folder, toys4k
from .sets.photo_words import photo_words
from .sets.video_sets import davis, msrvtt_1ka, msvd, tokenbench, video_folder

SETS: dict[str, Callable[..., Any]] = {
    "image-folder": image_folder,
    "labelled-folder": labeled_folder,
    "imagenet-v2": imagenet_v2,
    "imagenet-val": imagenet_val,
    "coco": coco,
    "flickr30k": flickr30k,
    "hub-images": hub_images,
    "davis": davis,
    "tokenbench": tokenbench,
    "video-folder": video_folder,
    "msrvtt-1ka": msrvtt_1ka,
    "msvd": msvd,
    "toys4k": toys4k,
    "object-folder": object_folder,
    "miniature-classification": miniature_classification,
    "miniature-retrieval": miniature_retrieval,
    "miniature-captions": miniature_captions,
    "miniature-objects": miniature_objects,
    "photo-words": photo_words,
    "adm-reference": adm_reference,
    "prompt-file": prompt_file,
    "geneval-prompts": geneval_prompts,
    "vbench-prompts": vbench_prompts,
}


def open_set(entry: dict[str, Any], what: str) -> EvaluationSet:
    """
    Lists the samples of a set that an entry describes by its name and options, as in `sets:` of a configuration.

    Args:
        what: how an error calls the entry.

    Raises:
        FileNotFoundError: the data are not there.
        ValueError: there is no such set, or an option is wrong.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be a mapping with set and its options, got {entry!r}")
    options = {name: value for name, value in entry.items() if name != "set"}
    builder = find(SETS, entry.get("set"), f"{what}: set")
    check_options(builder, options, what)
    return builder(**options)
