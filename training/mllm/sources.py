"""Conversations to learn from: a YAML file that lists JSON lines of messages, with media as paths."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from atoken.evaluation.yaml_files import read_yaml

ROLES = ("system", "user", "assistant")
KINDS = ("image", "video", "text")


def read_sources(path: Path) -> Dataset:
    """
    Reads the conversations of a data file.

    The file is YAML: `sources`, a list of `path`, a file of JSON lines, and `repeat`, how often it is gone through in
    an epoch, by default 1. A line is `{"messages": [...]}`, as chat templates take them: `content` is a text or a list
    of `{"type": "text", "text": ...}`, `{"type": "image", "image": PATH}` and `{"type": "video", "video": PATH}`, with
    paths relative to the file of lines. The last message is the assistant's.

    Returns:
        Rows of `messages`, the JSON text of a conversation with absolute paths, and `kind`: "video" if one is in it,
        else "image" if one is, else "text".

    Raises:
        FileNotFoundError: if a file does not exist.
        ValueError: naming the source, the line and what does not fit.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"path: there is no file {str(path)!r}")
    data = read_yaml(path, "path")
    sources = data.get("sources") if isinstance(data, dict) else None
    if not isinstance(sources, list) or not sources or set(data) != {"sources"}:
        raise ValueError(f"path must be a YAML file with a list of sources, got {data!r} in {path}")
    files = []
    for index, source in enumerate(sources):
        name = f"sources[{index}]"
        if not isinstance(source, dict) or "path" not in source or set(source) - {"path", "repeat"}:
            raise ValueError(f"{name} must have path, and may have repeat, got {source!r}")
        repeat = source.get("repeat", 1)
        if not isinstance(repeat, int) or isinstance(repeat, bool) or repeat < 1:
            raise ValueError(f"{name}.repeat must be an integer of at least 1, got {repeat!r}")
        lines = (path.parent / source["path"]).resolve()
        if not lines.is_file():
            raise FileNotFoundError(f"{name}.path: there is no file {str(lines)!r}")
        # The time of the last change makes a changed file another data set to the cache of `datasets`.
        files += [(name, str(lines), lines.stat().st_mtime_ns)] * repeat
    return Dataset.from_generator(_rows, gen_kwargs={"files": files})


def media_of(messages: Sequence[dict[str, Any]], kind: str) -> list[str]:
    """Lists the paths of a conversation's images or videos, in their order."""
    parts = (part for message in messages if isinstance(message["content"], list) for part in message["content"])
    return [part[kind] for part in parts if part["type"] == kind]


def _rows(files: Sequence[tuple[str, str, int]]) -> Iterator[dict[str, str]]:
    for name, path, _ in files:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                messages = _conversation(line, f"{name}, line {number}", Path(path).parent)
                kinds = [kind for kind in ("video", "image") if media_of(messages, kind)]
                yield {"messages": json.dumps(messages), "kind": kinds[0] if kinds else "text"}


def _conversation(line: str, where: str, folder: Path) -> list[dict[str, Any]]:
    """Reads one line, with absolute paths of media; `ValueError` if it is no conversation to learn from."""
    try:
        messages = json.loads(line)["messages"]
        roles = [message["role"] for message in messages]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{where} must be a JSON object with messages of role and content, got {line[:80]!r}"
        ) from error
    if not roles or roles[-1] != "assistant" or set(roles) - set(ROLES):
        raise ValueError(f"{where} must have messages of {', '.join(ROLES)}, the last of the assistant, got {roles}")
    for message in messages:
        content = message.get("content")
        for part in content if isinstance(content, list) else []:
            kind = part.get("type") if isinstance(part, dict) else None
            if kind not in KINDS or not isinstance(part.get(kind), str):
                raise ValueError(f"{where} must have parts of text, image and video with a text or path, got {part!r}")
            if kind != "text":
                part[kind] = str((folder / part[kind]).resolve())
                if not Path(part[kind]).is_file():
                    raise FileNotFoundError(f"{where}: there is no file {part[kind]!r}")
        if not isinstance(content, (str, list)):
            raise ValueError(f"{where} must have content of text or parts, got {content!r}")
    return messages
