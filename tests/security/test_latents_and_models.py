"""Latents files and model folders of strangers: claims of their headers, and code that they name."""

import json
import struct

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import save_file

from atoken.tokenizing.loading import load_model
from atoken_headers import model_folders
from atoken_headers.descriptions import describe
from atoken_headers.latents import bits_per_token, read_header
from atoken_headers.model_folders import find_model

from ..cli_samples import save_model
from ..processing.samples import tiny_tokenizer
from .memory import memory_below

METADATA = {
    **{"format": "atoken-latents", "version": "1", "kind": "image", "media_size": "1,16,16", "patch_size": "4,16,16"},
    **{"latent_channels": "2", "quantizer": "none", "content": "latents", "model": "m", "model_type": "atoken"},
    "fingerprint": "0" * 32,
}


def latents(**changes: str):
    def write(path) -> None:
        save_file({"latents": torch.zeros(1, 1, 1, 2)}, path, metadata={**METADATA, **changes})

    return write


def raw(header: bytes, size: int | None = None):
    def write(path) -> None:
        path.write_bytes(struct.pack("<Q", len(header) if size is None else size) + header)

    return write


TENSOR = {"latents": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 8]}}
POWERS = json.dumps({"num_codebooks": 8, "codebook_dim": 10**9, "levels": 10**9})
FILES = {
    "length of the header": (raw(b"{}", 2**63), "truncated, or not a safetensors file"),
    "size of the header": (raw(b"{}", 10**9), "truncated, or not a safetensors file"),
    "depth of the header": (raw(b'{"a": ' * 100_000), "truncated, or not a safetensors file"),
    "shape of a tensor": (raw(json.dumps(TENSOR).encode()), "truncated, or not a safetensors file"),
    "size of the media": (latents(media_size="1,999999999,999999999"), "must have shape"),
    "digits of the media": (latents(media_size="9" * 9999 + ",1,1"), "media_size must be 3 positive integers"),
    "kind that is a path": (latents(kind="../../image"), "kind must be one of"),
    "content that is a path": (latents(content="../../latents"), "content must be one of"),
    "depth of the quantizer": (latents(quantizer="[" * 100_000), "quantizer must be none, or"),
    "powers of the quantizer": (latents(quantizer=POWERS), "quantizer must be none, or"),
    "times": (latents(kind="video", media_size="4,16,16", times="1," * 50_000 + "1"), "times must be"),
}


@pytest.mark.parametrize("case", FILES)
def test_headers_of_latents(case, tmp_path):
    write, message = FILES[case]
    write(tmp_path / "a.safetensors")
    with memory_below(100), pytest.raises(ValueError, match=rf"a\.safetensors: .*{message}"):
        read_header(tmp_path / "a.safetensors")


def test_a_sound_header_is_read(tmp_path):
    latents()(tmp_path / "a.safetensors")
    assert read_header(tmp_path / "a.safetensors").shape == (1, 1, 1, 2)
    assert bits_per_token("codes", 48, {"num_codebooks": 8, "codebook_dim": 6, "levels": 4}, 16) == 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, tokenizer=tiny_tokenizer())
    return folder


CODE = "import pathlib\npathlib.Path({mark!r}).write_text('it ran')\nclass Evil:\n    pass\n"
NAMES = {
    "config.json": ["AutoConfig", "AutoModel"],
    "processor_config.json": ["AutoProcessor", "AutoImageProcessor", "AutoVideoProcessor"],
    "tokenizer_config.json": ["AutoTokenizer"],
}


@pytest.mark.parametrize("file", NAMES)
def test_no_code_of_a_folder_runs(file, folder, tmp_path, monkeypatch):
    """Neither is anybody asked whether it should: a server has nobody who could answer."""
    mark = tmp_path / "mark"
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    (folder / "evil.py").write_text(CODE.format(mark=str(mark)))
    before = (folder / file).read_text()
    names = NAMES[file]
    auto_map = {name: ["evil.Evil", "evil.Evil"] if name == "AutoTokenizer" else "evil.Evil" for name in names}
    (folder / file).write_text(json.dumps({**json.loads(before), "auto_map": auto_map, "tokenizer_class": "Evil"}))
    try:
        load_model(str(folder), "cpu")
    except ValueError as error:
        assert "custom code" in str(error) or "Evil" in str(error)
    finally:
        (folder / file).write_text(before)
    assert not mark.exists()


def test_pickled_weights_are_not_looked_at(folder, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((folder / "config.json").read_text())
    torch.save({"a": torch.zeros(1)}, bare / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match="model must have weights"):
        load_model(str(bare), "cpu")


def test_what_is_downloaded(monkeypatch, tmp_path):
    asked = {}

    def snapshot(name, **options):
        asked.update(options, name=name)
        raise OSError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    with pytest.raises(FileNotFoundError, match="a Hub name that can be downloaded, got 'a/b'"):
        find_model("a/b")
    files = (
        "config.json model.safetensors modeling.py pytorch_model.bin a.pt a.pkl a.ckpt x.so a.zip sub/evil.py .git/x"
    )
    taken = filter_repo_objects(files.split(), allow_patterns=asked["allow_patterns"])
    assert asked["name"] == "a/b" and list(taken) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", ["../../etc", "/etc", "a/b/c", "https://example.org/a", "a/b;rm", "-a/../b", ""])
def test_what_is_no_name(name, monkeypatch):
    monkeypatch.setattr(model_folders, "_download", lambda name: pytest.fail(f"{name} was asked for"))
    with pytest.raises(FileNotFoundError, match="model must be a folder"):
        find_model(name)


def test_configurations_of_strangers(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    powers = {"num_codebooks": 8, "codebook_dim": 10**9, "levels": 10**9}
    for name in folder.iterdir():
        if name.is_file():
            (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantizer_config": powers}))
    with pytest.raises(ValueError, match="config.json cannot be used.*at most 2\\^63 entries"):
        describe(str(tmp_path))
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="model must be an AtokenModel"):
        describe(str(tmp_path))
