"""What lmms-eval finds through our entry point of its group `lmms_eval.models`, without importing torch."""

from typing import Any

MODEL_ID = "atoken_llava"


def manifest() -> Any:
    """Gives the `ModelManifest` of our multimodal language model, for `--model atoken_llava`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # pyright: ignore[reportMissingImports]

    return ModelManifest(model_id=MODEL_ID, chat_class_path="atoken.evaluation.lmms_model.LmmsAtokenLlava")
