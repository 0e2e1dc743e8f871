"""What corpora are made from: the same rows out of every kind of source, and wrong sources named."""

import io
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from atoken.processing.media_warnings_atoken import MediaWarning
from atoken.tokenizing.corpus.arrow import import_arrow
from atoken.tokenizing.corpus.hub_source import HubSource
from atoken.tokenizing.corpus.opening import open_source
from atoken.tokenizing.corpus.options import TokenizeOptions
from atoken.tokenizing.corpus.ray_tasks import run_ray

from .samples import add, name_of, order, pixels_of, png_of, write_folder, write_list, write_parquet, write_tars

TEXTS = {"caption": "text"}
TEXT, CLASS = {**TEXTS, "label": "class"}, {"caption": "txt", "label": "cls"}
SOURCES = {
    "folder": (write_folder, {"caption": "caption", "label": "label"}),
    ".csv": (lambda root: write_list(root, ".csv"), TEXT),
    ".jsonl": (lambda root: write_list(root, ".jsonl"), TEXT),
    "tars": (write_tars, CLASS),
    "parquet": (write_parquet, TEXT),
    "pattern": (lambda root: write_parquet(root) / "*.parquet", TEXT),
    "hub": (write_parquet, TEXT),
}


def opened(name: str, root: Path):
    write, keep = SOURCES[name]
    path, options = write(root), TokenizeOptions(keep=keep)
    if name == "hub":
        return HubSource(str(path), "image", keep, "train", None, None)
    return open_source(str(path), options)


def pixels(media) -> np.ndarray:
    with Image.open(io.BytesIO(media) if isinstance(media, bytes) else media) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("unit_rows", [3, 100])
def test_every_source_gives_each_row_once_in_order(name, unit_rows, tmp_path):
    source = opened(name, tmp_path)
    units = json.loads(json.dumps(source.units(unit_rows)))
    rows = [row for unit in units for row in source.rows(unit)]
    assert [row.columns["caption"] for row in rows] == [f"picture {index}" for index in order()]
    assert [row.columns["label"] for row in rows] == [index % 3 for index in order()]
    for row, index in zip(rows, order(), strict=True):
        assert row.error is None and np.array_equal(pixels(row.media), pixels_of(index))
    assert len({row.key for row in rows}) == len(rows)
    if name != "tars":
        assert max(unit["rows"] for unit in units) <= unit_rows
    for unit in units:
        assert [row.index for row in source.rows(unit)] == list(range(len(list(source.rows(unit)))))


def test_a_list_of_paths(tmp_path):
    source = open_source(str(write_list(tmp_path, ".txt")), TokenizeOptions())
    (unit,) = source.units(100)
    assert [row.key for row in source.rows(unit)] == [f"media/{name_of(index)}.png" for index in order()]


# What str.splitlines takes for the end of a line beside line feeds; JSON has the first two as escapes alone.
BREAKS = ["\x0b", "\x0c", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".jsonl"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_line_feeds_end_the_rows_of_a_list(suffix, end, tmp_path):
    paths = [f"a{each}{number}.png" for number, each in enumerate(BREAKS)]
    texts = [f"one{each}two" for each in BREAKS]
    lines = {
        ".txt": paths,
        ".csv": ["path,text", *map(",".join, zip(paths, texts, strict=True))],
        ".jsonl": [
            json.dumps({"path": path, "text": text}, ensure_ascii=False)
            for path, text in zip(paths, texts, strict=True)
        ],
    }[suffix]
    (tmp_path / f"list{suffix}").write_bytes("".join(line + end for line in lines).encode())
    source = open_source(str(tmp_path / f"list{suffix}"), TokenizeOptions(keep={} if suffix == ".txt" else TEXTS))
    rows = list(source.rows(source.units(100)[0]))
    assert [row.key for row in rows] == paths
    assert [row.columns.get("caption") for row in rows] == ([None] * 5 if suffix == ".txt" else texts)


def test_cells_in_quotes_keep_their_line_breaks(tmp_path):
    (tmp_path / "list.csv").write_bytes(b'path,text\r\na.png,"one\ntwo, ""three"""\r\nb.png,"four\r\nfive"\r\n')
    source = open_source(str(tmp_path / "list.csv"), TokenizeOptions(keep=TEXTS))
    rows = list(source.rows(source.units(100)[0]))
    assert [row.columns["caption"] for row in rows] == ['one\ntwo, "three"', "four\r\nfive"]


def test_fields_of_json_files_and_other_columns_keep_their_values(tmp_path):
    (tmp_path / "tars").mkdir(), (tmp_path / "parquet").mkdir()
    tars = open_source(str(write_tars(tmp_path / "tars")), TokenizeOptions(keep={"score": "json.score", "key": "txt"}))
    rows = [row for unit in tars.units(1) for row in tars.rows(unit)]
    assert [float(row.columns["score"]) for row in rows] == [index / 2 for index in order()]
    assert [row.key for row in rows] == [f"picture {index}" for index in order()]
    parquet = open_source(str(write_parquet(tmp_path / "parquet")), TokenizeOptions(keep={"score": "score"}))
    assert parquet.column_type("score") == pa.float64()


def test_a_folder_names_what_it_passes_over(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "notes.md").write_text("no picture")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden/a.png").write_bytes(png_of(0))
    with pytest.warns(MediaWarning, match=r"passed over, 1 of them: notes\.md"):
        assert len(open_source(str(tmp_path), TokenizeOptions()).files) == 10


def test_rows_that_are_wrong_say_why(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "a.png", png_of(0)), add(tar, "a.cls", b"3")
        add(tar, "b.txt", b"no picture"), add(tar, "b.cls", b"4")
        add(tar, "c.png", png_of(1)), add(tar, "c.cls", b"dog")
        add(tar, "d.png", png_of(2)), add(tar, "d.jpg", b""), add(tar, "d.cls", b"4")
        add(tar, "e.png", png_of(2))
    source = open_source(str(tmp_path), TokenizeOptions(keep={"label": "cls"}))
    rows = list(source.rows(source.units(1)[0]))
    assert [row.error for row in rows] == [
        None,
        "the sample has no image, but txt, cls",
        "label must be an integer, got 'dog'",
        "the sample has no image, but png, jpg, cls",
        None,
    ]
    assert [row.columns["label"] for row in rows if row.error is None] == [3, None]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _mixed(root: Path) -> None:
    write_tars(root), write_parquet(root)


BAD = {
    "nowhere": (lambda root: None, "{}/nowhere", {}, FileNotFoundError, "which is none of them"),
    "an empty folder": (lambda root: None, "{}", {}, ValueError, "must hold media .*with none"),
    "no media of the kind": (write_folder, "{}", {"kind": "video"}, ValueError, "must hold media .*with none"),
    "a single picture": (write_folder, "{}/class0/000.png", {}, ValueError, r"ends in \.txt, .*got .*000.png"),
    "tars and parquet files": (_mixed, "{}", {}, ValueError, "tars or parquet files, got .* with both"),
    "column of a folder": (write_folder, "{}", {"keep": {"a": "b"}}, ValueError, "among caption, label, folder.*'b'"),
    "media of a folder": (write_folder, "{}", {"media": "png"}, ValueError, "media must be left out for a folder"),
    "labels without folders": (
        lambda root: (root / "a.png").write_bytes(png_of(0)),
        "{}",
        {"keep": {"label": "label"}},
        ValueError,
        "without folders in it, got 'label'",
    ),
    "column of a list": (
        lambda root: write_list(root, ".csv"),
        "{}/list.csv",
        {"keep": {"caption": "words"}},
        ValueError,
        "among the columns class, path, text of .*got 'words'",
    ),
    "list without paths": (
        lambda root: (root / "a.jsonl").write_text('{"file": "a.png"}\n'),
        "{}/a.jsonl",
        {},
        ValueError,
        "name a path in every row, got .* row 1",
    ),
    "damaged list": (
        lambda root: (root / "a.jsonl").write_text('{"path": "a.png"\n'),
        "{}/a.jsonl",
        {},
        ValueError,
        "must be a list in UTF-8",
    ),
    "quotes without an end": (
        lambda root: (root / "a.csv").write_text('path,text\na.png,"' + "a" * 200_000),
        "{}/a.csv",
        {},
        ValueError,
        "must be a list in UTF-8, got .*field limit",
    ),
    "list of numbers": (
        lambda root: (root / "a.jsonl").write_text("3\n"),
        "{}/a.jsonl",
        {},
        ValueError,
        "an object on",
    ),
    "ending of tars": (write_tars, "{}", {"media": "webp"}, ValueError, "one of the endings png, txt, .*'webp'"),
    "column of tars": (write_tars, "{}", {"keep": {"caption": "text"}}, ValueError, "among the endings .*got 'text'"),
    "tars of another kind": (write_tars, "{}", {"kind": "video"}, ValueError, "must hold one video a sample"),
    "truncated tar": (
        lambda root: _cut(write_tars(root) / "0.tar") or (root / "0.tar").write_bytes(b"x" * 600),
        "{}",
        {},
        ValueError,
        "0.tar is truncated or no tar",
    ),
    "empty tar": (
        lambda root: tarfile.open(root / "0.tar", "w").close(),
        "{}",
        {},
        ValueError,
        "without a file in it",
    ),
    "column of media": (
        write_parquet,
        "{}",
        {"media": "photo"},
        ValueError,
        "media must be among .*image.*got 'photo'",
    ),
    "column of parquet": (write_parquet, "{}", {"keep": {"a": "b"}}, ValueError, "keep must be among .*got 'b'"),
    "truncated parquet": (
        lambda root: _cut(write_parquet(root) / "0.parquet"),
        "{}",
        {},
        ValueError,
        "0.parquet is truncated or no parquet",
    ),
}


@pytest.mark.parametrize("cut", [512, 1024, 5000, 9000, 9728, 20_000])
def test_tars_that_were_cut_off_anywhere_are_refused(cut, tmp_path):
    """Also between two files, where such a tar reads like a shorter one."""
    source = write_tars(tmp_path)
    path = source / "1.tar"
    path.write_bytes(path.read_bytes()[:cut])
    opened = open_source(str(source), TokenizeOptions())
    with pytest.raises(ValueError, match="1.tar is truncated or no tar"):
        list(opened.rows(opened.units(1)[1]))


@pytest.mark.parametrize("case", BAD)
def test_wrong_sources_are_named(case, tmp_path):
    write, source, options, kind, message = BAD[case]
    write(tmp_path)
    with pytest.raises(kind, match=message):
        open_source(source.format(tmp_path), TokenizeOptions(**options))


@pytest.mark.parametrize("package, extra", [("pyarrow", "corpus"), ("datasets", "corpus"), ("ray", "ray")])
def test_packages_that_are_missing_are_named(package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    needed = {
        "pyarrow": import_arrow,
        "datasets": lambda: open_source("somebody/pictures", TokenizeOptions()),
        "ray": lambda: run_ray(None, "cpu"),
    }
    with pytest.raises(ImportError, match=rf'pip install "atoken\[{extra}\]"'):
        needed[package]()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "sound"}, "kind must be one of image, video, object, got 'sound'"),
        ({"format": "zarr"}, "format must be one of"),
        ({"size": 0}, "size must be a positive integer, got 0"),
        ({"batch_tokens": 1.5}, "batch_tokens must be a positive integer, got 1.5"),
        ({"size": 32, "max_tokens": 4}, "max_tokens must be left out where size is given"),
        ({"frames": 4}, "frames must be left out unless kind is video"),
        ({"kind": "object", "flip": True}, "flip must be left out for objects"),
        ({"kind": "object", "size": 32}, "size must be left out for objects"),
        ({"content": "codes", "moments": True}, "moments must be off for codes"),
        ({"keep": {"tokens": "a"}}, "keep must name columns .*got 'tokens'"),
        ({"keep": {"a b": "a"}}, "keep must name columns .*got 'a b'"),
        ({"format": "safetensors", "size": 32, "flip": True}, "format must be parquet or webdataset unless"),
        ({"format": "safetensors", "flip": True, "keep": {"label": "cls"}}, "format must be parquet or webdataset"),
    ],
)
def test_wishes_that_contradict_each_other(options, message):
    with pytest.raises(ValueError, match=message):
        TokenizeOptions(**options)


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("continuous", {"content": "codes"}, "content must be latents for a continuous model"),
        ("discrete", {"moments": True}, "moments must be off for a discrete model"),
        ("continuous", {"size": 40}, "size must be a multiple of the patch of 16 x 16 pixels, got 40"),
    ],
)
def test_wishes_that_a_model_cannot_meet(name, options, message, loaded):
    with pytest.raises(ValueError, match=message):
        TokenizeOptions(**options).check_model(loaded[name].model.config)
