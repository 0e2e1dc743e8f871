"""Small sources, and corpora made from them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from PIL import Image

from atoken.tokenizing.corpus.finishing import finish
from atoken.tokenizing.corpus.models import CorpusModel
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.plan import Plan, make_plan
from atoken.tokenizing.corpus.work import work

from ...processing.samples import photo

COUNT = 10
SIZES = ((40, 50), (64, 48))


def pixels_of(index: int) -> np.ndarray:
    return photo(*SIZES[index % 3 == 0], seed=index)


def png_of(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_of(index)).save(file, "PNG")
    return file.getvalue()


def name_of(index: int) -> str:
    return f"class{index % 3}/{index:03d}"


def order() -> list[int]:
    """The pictures in the order of their names."""
    return sorted(range(COUNT), key=name_of)


def write_folder(root: Path) -> Path:
    for index in range(COUNT):
        path = root / f"{name_of(index)}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_of(index))
        path.with_suffix(".txt").write_text(f"picture {index}\n")
    return root


def write_list(root: Path, suffix: str) -> Path:
    """A list beside the folder of pictures, in the order of their names."""
    folder, path = write_folder(root / "media"), root / f"list{suffix}"
    rows = [
        {"path": f"media/{name_of(index)}.png", "text": f"picture {index}", "class": index % 3} for index in order()
    ]
    assert folder.is_dir()
    if suffix == ".txt":
        path.write_text("\n".join(row["path"] for row in rows) + "\n")
    elif suffix == ".csv":
        path.write_text("path,text,class\n" + "".join(f"{','.join(map(str, row.values()))}\n" for row in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_tars(root: Path) -> Path:
    for shard in range(2):
        with tarfile.open(root / f"{shard}.tar", "w") as tar:
            for index in order()[5 * shard : 5 * shard + 5]:
                add(tar, f"{name_of(index)}.png", png_of(index))
                add(tar, f"{name_of(index)}.txt", f"picture {index}".encode())
                add(tar, f"{name_of(index)}.cls", str(index % 3).encode())
                add(tar, f"{name_of(index)}.json", json.dumps({"score": index / 2}).encode())
    return root


def write_parquet(root: Path) -> Path:
    for shard in range(2):
        chosen = order()[5 * shard : 5 * shard + 5]
        rows = {
            "image": [{"bytes": png_of(index), "path": f"{index}.png"} for index in chosen],
            "text": [f"picture {index}" for index in chosen],
            "class": [index % 3 for index in chosen],
            "score": [index / 2 for index in chosen],
        }
        Dataset.from_dict(rows).to_parquet(root / f"{shard}.parquet")
    return root


def complete(source: Path | str, out: Path, loaded: CorpusModel, **options: Any) -> Plan:
    """Makes a whole corpus and its statistics."""
    options = TokenizeOptions(**{"unit_rows": 4, **options})
    plan = make_plan(str(source), out, options, loaded)
    problems = [each for each in work(plan, loaded, plan.open_source()) if isinstance(each, Exception)]
    assert not problems, problems
    finish(plan)
    return plan


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a corpus, hidden ones too."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
