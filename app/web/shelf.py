"""The models of a server: told apart by their folders, loaded when first asked for, used by one request at a time."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from atoken.evaluation.answering import load_answerer
from atoken.evaluation.models.generator_loading import load_generator
from atoken.evaluation.models.media_generator_loading import load_media_generator
from atoken.evaluation.models.object_generator_loading import load_object_generator
from atoken.tokenizing.loading import load_model
from atoken_headers.generator_folders import INDEX, is_generator_folder, pipeline_class
from atoken_headers.model_folders import find_folder, is_answering_folder, is_model_folder

TOKENIZER, ANSWERER = "tokenizer", "answerer"
# Of classes, of texts, of pictures.
GENERATOR, TEXT_GENERATOR, OBJECT_GENERATOR = "generator", "text generator", "object generator"
LOADERS = {
    TOKENIZER: load_model,
    GENERATOR: load_generator,
    TEXT_GENERATOR: load_media_generator,
    OBJECT_GENERATOR: load_object_generator,
    ANSWERER: load_answerer,
}
OTHER_PIPELINES = {"TextToMediaPipeline": TEXT_GENERATOR, "ImageToObjectPipeline": OBJECT_GENERATOR}


@dataclass
class Shelf:
    """
    Holds the names of models by their kind, and those that are loaded.

    Attributes:
        names: kind -> names.
        device: "cpu" or "cuda".
    """

    names: dict[str, list[str]]
    device: str
    _loaded: dict[str, Any] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, models: Sequence[str], device: str) -> "Shelf":
        """
        Sorts models by their kind.

        Args:
            models: folders, Hub names, or names of embedded checkpoints.
            device: "cpu" or "cuda".

        Raises:
            FileNotFoundError: there is no such model.
            ValueError: it is none of those that can be shown.
        """
        names: dict[str, list[str]] = {kind: [] for kind in LOADERS}
        for name in models:
            names[_kind_of(name)].append(name)
        return cls(names, device)

    @contextmanager
    def using(self, kind: str, name: str) -> Iterator[Any]:
        """
        Lends a model; others wait.

        Raises:
            ValueError: the server has no such model.
        """
        if name not in self.names[kind]:
            raise ValueError(f"model must be one of {', '.join(self.names[kind])}, got {name!r}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = LOADERS[kind](name, self.device, "float32")
            yield self._loaded[name]


def _kind_of(name: str) -> str:
    for kind, index, is_one in (
        (TOKENIZER, "config.json", is_model_folder),
        (GENERATOR, INDEX, is_generator_folder),
        (ANSWERER, "config.json", is_answering_folder),
    ):
        try:
            folder, _ = find_folder(name, index)
        except FileNotFoundError:
            continue
        if is_one(folder):
            return OTHER_PIPELINES.get(str(pipeline_class(folder)), kind) if kind == GENERATOR else kind
    raise FileNotFoundError(
        f"model must be an AToken model, a generator's pipeline or a multimodal language model, got {name!r}"
    )
