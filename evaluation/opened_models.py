"""The models of a configuration in memory, each loaded once."""

from collections.abc import Iterable

from .configuration import ModelEntry
from .interface import Model


class OpenedModels:
    """Loads models when they are first asked for, and keeps them for the next time."""

    def __init__(self):
        self._models: dict[tuple[str, str], Model] = {}

    def __getitem__(self, entry: ModelEntry) -> Model:
        key = (entry.role, entry.name)
        if key not in self._models:
            self._models[key] = entry.open()
        return self._models[key]

    def keep(self, entries: Iterable[ModelEntry]) -> None:
        """Forgets all models but these."""
        kept = {(entry.role, entry.name) for entry in entries}
        self._models = {key: model for key, model in self._models.items() if key in kept}
