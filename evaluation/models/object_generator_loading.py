"""The pipeline that makes 3D objects of pictures, loaded by the classes of this project: no code of the folder runs."""

from transformers import Dinov2WithRegistersModel

from atoken import AtokenModel
from atoken.generation import (
    ImageToObjectPipeline,
    SparseStructureAutoencoder,
    SparseStructureFlowModel,
    StructuredLatentFlowModel,
)
from atoken_headers.generator_folders import IMAGE_TO_OBJECT, INDEX

from .generator_folder import open_generator
from .generator_loading import load_part, read_json

MODELS = {
    each.__name__: each
    for each in (
        AtokenModel,
        Dinov2WithRegistersModel,
        SparseStructureAutoencoder,
        SparseStructureFlowModel,
        StructuredLatentFlowModel,
    )
}
PARTS = ("structure_vae", "structure_transformer", "latent_transformer", "vae", "scheduler", "image_encoder")
SETTINGS = ("structure_sampling", "latent_sampling", "picture_size")


def load_object_generator(
    name: str | None = None, device: str = "auto", dtype: str = "float32"
) -> tuple[ImageToObjectPipeline, str]:
    """
    Loads a generator of 3D objects.

    Args:
        name: a folder, a Hub name, or an embedded generator's name; image-to-object-tiny if None.
        device: "auto", "cpu" or "cuda".
        dtype: "float32", "bfloat16" or "float16".

    Returns:
        The pipeline, and what leads to it again: an embedded name, an absolute folder, or a Hub name.

    Raises:
        FileNotFoundError: there is no such generator.
        ValueError: the folder is that of another pipeline, incomplete or damaged, or an option is out of range.
    """
    found = open_generator(IMAGE_TO_OBJECT if name is None else name, [ImageToObjectPipeline.__name__], device, dtype)
    index = read_json(found.path / INDEX)
    parts = {part: load_part(found.path, part, index.get(part), MODELS) for part in PARTS if _is_there(index.get(part))}
    pipeline = ImageToObjectPipeline(**parts, **{name: index[name] for name in SETTINGS if index.get(name) is not None})
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(dtype=found.dtype).to(found.device)
    return pipeline, found.label


def _is_there(entry: object) -> bool:
    """Tells an optional part that was left out, a pair of nulls, from others."""
    return entry not in (None, [None, None], (None, None))
