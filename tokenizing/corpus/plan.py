"""The plan of a corpus: all that decides its bytes, written once, and compared whenever somebody goes on."""

import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .commits import UnitFiles, write_synced
from .models import CorpusModel, load_by_facts, model_facts
from .opening import open_source
from .options import TokenizeOptions
from .parts import VERSION
from .sources import CorpusSource, Unit

PLAN = "plan.json"
_PACKAGES = ("torch", "torchvision", "transformers", "pyarrow", "safetensors")
_NAMED = 6  # changes that are listed


@dataclass(frozen=True)
class Plan:
    """
    Holds the plan of a corpus.

    Attributes:
        folder: of the corpus.
        source: the name that was given.
        options: what is stored of it.
        facts: all of the plan, JSON-ready, as in plan.json.
    """

    folder: Path
    source: str
    options: TokenizeOptions
    facts: dict[str, Any]

    @property
    def units(self) -> list[Unit]:
        """Gives the units in order."""
        return self.facts["units"]

    @property
    def files(self) -> UnitFiles:
        """Gives the files of the units."""
        return UnitFiles(self.folder, self.options.format)

    def header(self, unit: int) -> dict[str, Any]:
        """Gives what a part says about itself."""
        model = self.facts["model"]
        names = ("name", "fingerprint", "encoder", "channels", "codebooks", "entries", "patch_size", "dtype")
        about = {name: model[name] for name in names}
        options = {name: getattr(self.options, name) for name in ("kind", "content", "size")}
        return {"format": "atoken-corpus", "version": VERSION, "unit": unit, **about, **options}

    def missing(self) -> list[int]:
        """Lists the units that are not done."""
        return [unit for unit in range(len(self.units)) if not self.files.is_committed(unit)]

    def open_source(self) -> CorpusSource:
        """Opens the source; see `open_source`."""
        return open_source(self.source, self.options)


def make_plan(
    source: str, folder: Path, options: TokenizeOptions, loaded: CorpusModel, opened: CorpusSource | None = None
) -> Plan:
    """
    Makes the plan of a corpus, and writes it if there is none yet.

    Args:
        source: see `open_source`.
        folder: of the corpus.
        options: what is stored of it.
        loaded: the model that encodes.
        opened: the source, if it is open already.

    Raises:
        ValueError: the folder has another plan, saying what differs, or holds other files; or the options do not fit
            the source or the model.
        FileNotFoundError: there is no such source.
    """
    model = model_facts(loaded, options)
    opened = open_source(source, options) if opened is None else opened
    about = opened.facts()
    if about["from"] != "hub":
        source = os.path.abspath(source)  # for workers that start elsewhere
    facts = {
        "version": VERSION,
        "source": {"name": source, **about},
        "options": options.as_json(),
        "model": model,
        "packages": {name: _version(name) for name in _PACKAGES},
        "units": opened.units(options.rows_of_unit),
    }
    if not facts["units"]:
        raise ValueError(f"source must hold rows, got {source!r} without one")
    facts = json.loads(json.dumps(facts))  # as it will be read
    plan = Plan(folder, source, options, facts)
    path = folder / PLAN
    if not path.exists():
        others = [each.name for each in folder.iterdir() if not each.name.startswith(".")] if folder.is_dir() else []
        if others:
            raise ValueError(f"out must be a new folder or that of a corpus, got {folder} with {sorted(others)[0]}")
        folder.mkdir(parents=True, exist_ok=True)
        write_synced(path, json.dumps(facts, indent=1, ensure_ascii=False))
    # Read again: another worker may have written its own meanwhile.
    changes = list(_changes("", _read(path), facts))
    if changes:
        more = f", and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise ValueError(
            f"out must hold a corpus of the same plan, got {folder} with another: {'; '.join(changes[:_NAMED])}{more}. "
            "Choose another folder, or tokenize as before"
        )
    return plan


def read_plan(folder: str | Path) -> Plan:
    """
    Reads the plan of a corpus.

    Raises:
        FileNotFoundError: the folder has none.
        ValueError: it is damaged, or of another version.
    """
    facts = _read(Path(folder) / PLAN)
    if facts.get("version") != VERSION:
        raise ValueError(f"out must hold a corpus of version {VERSION}, got {facts.get('version')} in {folder}")
    return Plan(Path(folder), facts["source"]["name"], TokenizeOptions(**facts["options"]), facts)


def load_planned_model(plan: Plan, device: str = "auto") -> CorpusModel:
    """
    Loads the model of a plan.

    Raises:
        FileNotFoundError: it is not where it was.
        ValueError: it is no longer the model that the plan was made with.
    """
    loaded = load_by_facts(plan.facts["model"], device, plan.options.dtype)
    changes = list(_changes("model", plan.facts["model"], model_facts(loaded, plan.options)))
    if changes:
        raise ValueError(f"model must be that of the plan of {plan.folder}, got another: {'; '.join(changes[:_NAMED])}")
    return loaded


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"out must hold a corpus, got {path.parent}, which has no {path.name}") from None
    except ValueError as error:
        raise ValueError(f"out must hold a corpus, got {path.parent}, whose {path.name} is damaged: {error}") from error
    if not isinstance(facts, dict):
        raise ValueError(f"out must hold a corpus, got {path.parent}, whose {path.name} is no plan")
    return facts


def _changes(name: str, before: Any, after: Any):
    """What differs between two plans, in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from _changes(f"{name}.{key}".lstrip("."), before.get(key), after.get(key))
    elif isinstance(before, list) and isinstance(after, list) and name == "units" and len(before) != len(after):
        yield f"units: {len(before)} became {len(after)}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _changes(f"{name}[{place}]", one, other)
    elif before != after:
        yield f"{name}: {before!r} became {after!r}"
