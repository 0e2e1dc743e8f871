"""Sets of samples: which files, in which order, how many, and the pixels that the protocols ask for."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atoken.evaluation.interface import EvaluationSet
from atoken.evaluation.sets.image_sets import (
    coco,
    flickr30k,
    hub_images,
    image_folder,
    imagenet_v2,
    imagenet_val,
    labeled_folder,
)
from atoken.evaluation.sets.object_sets import object_folder, toys4k
from atoken.evaluation.sets.video_sets import davis, load_sparsely, msrvtt_1ka, msvd, tokenbench, video_folder
from atoken.processing.media_reading_atoken import write_video

from ...processing.samples import photo, png16, smooth_clip


def _save(root: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(32, 48, seed)).save(root / name)
    return root


def _check(found: EvaluationSet, count: int) -> EvaluationSet:
    """Checks what holds for every set."""
    assert len(found.samples) == count == found.protocol["count"]
    assert len({sample.name for sample in found.samples}) == count and len(found.checksum) in (16, 64)
    json.dumps(found.protocol)
    return found


def test_image_folder_is_in_order_and_resized_by_the_protocol(tmp_path):
    root = _save(tmp_path, "b/2.png", "a.png", "b/10.png")
    (root / "notes.txt").write_text("no image")
    found = _check(image_folder(str(root), size=16), 3)
    assert [sample.name for sample in found.samples] == ["a.png", "b/10.png", "b/2.png"]
    lines = "".join(f"{name}\t{(root / name).stat().st_size}\n" for name in ("a.png", "b/10.png", "b/2.png"))
    assert found.checksum == hashlib.sha256(lines.encode()).hexdigest()
    # Pillow's bicubic, which antialiases as well, differs by rounding in between.
    image = Image.open(root / "a.png").resize((24, 16), Image.Resampling.BICUBIC)
    expected = np.asarray(image)[:, 4:20]
    pixels = found.samples[0].load()
    assert pixels.shape == (1, 3, 16, 16) and pixels.dtype == torch.uint8
    assert np.abs(pixels[0].permute(1, 2, 0).numpy().astype(int) - expected).max() <= 1


def _edge(side: int) -> np.ndarray:
    """A black and a white half (side, side, 3) uint16, where bicubic overshoots on both sides."""
    pixels = np.zeros((side, side, 3), dtype=np.uint16)
    pixels[:, side // 2 :] = 65535
    return pixels


def test_pictures_of_16_bits_are_measured_in_8(tmp_path):
    (tmp_path / "deep").mkdir(), (tmp_path / "flat").mkdir()
    (tmp_path / "deep" / "a.png").write_bytes(png16(_edge(300)))
    Image.fromarray((_edge(300) // 257).astype(np.uint8)).save(tmp_path / "flat" / "a.png")
    deep, flat = (image_folder(str(tmp_path / name)).samples[0].load() for name in ("deep", "flat"))
    assert deep.dtype == torch.uint8 and torch.equal(deep, flat)
    assert (deep[..., :100] == 0).all() and (deep[..., 156:] == 255).all()
    frames = tmp_path / "JPEGImages" / "480p" / "bear"
    frames.mkdir(parents=True)
    (frames / "0.png").write_bytes(png16(_edge(20)))
    video = davis(str(tmp_path), resolution="480p", limit=1).samples[0].load()
    assert video.dtype == torch.uint8 and np.array_equal(video[0].permute(1, 2, 0), _edge(20) // 257)


def test_every_file_that_is_media_belongs_to_a_set_of_its_kind(tmp_path):
    """Takes the files that training reads, too: there is one list of suffixes, and animated pictures are videos."""
    root = _save(tmp_path, "a.avif", "b.gif", "c.JPG", "d/e.webp", "f.png", "g.jp2", ".hidden.png")
    frames = [Image.fromarray(photo(32, 48, seed)) for seed in range(3)]
    for name in ("moving.gif", "moving.png", "moving.webp"):
        frames[0].save(root / name, save_all=True, append_images=frames[1:], duration=100)
    write_video(root / "clip.ts", smooth_clip(4, 32, 48), 4.0)
    (root / "notes.txt").write_text("no image")
    found = _check(image_folder(str(root), size=16), 6)
    assert [sample.name for sample in found.samples] == ["a.avif", "b.gif", "c.JPG", "d/e.webp", "f.png", "g.jp2"]
    assert all(sample.load().shape == (1, 3, 16, 16) for sample in found.samples)
    found = _check(video_folder(str(root)), 4)
    assert [sample.name for sample in found.samples] == ["clip.ts", "moving.gif", "moving.png", "moving.webp"]
    assert [len(sample.load()) for sample in found.samples] == [4, 3, 3, 3]
    with pytest.raises(FileNotFoundError, match="object-folder: .* holds no object files"):
        object_folder(str(root))


def test_checksums_change_with_files_and_not_with_the_place(tmp_path):
    first, second = (_save(tmp_path / name, "a.png", "b.png") for name in "xy")
    assert image_folder(str(first)).checksum == image_folder(str(second)).checksum
    (second / "a.png").write_bytes((second / "a.png").read_bytes() + b"0")
    assert image_folder(str(first)).checksum != image_folder(str(second)).checksum


def test_classes_are_folders(tmp_path):
    root = _save(tmp_path, "n01/x.png", "n02/y.png", "n01/z.png")
    found = _check(labeled_folder(str(root)), 3)
    assert found.class_names == ("n01", "n02") and [sample.label for sample in found.samples] == [0, 0, 1]
    (tmp_path / "names.json").write_text(json.dumps({"n01": "tench", "n02": "goldfish"}))
    found = imagenet_val(str(root), class_names=str(tmp_path / "names.json"), limit=3)
    assert found.class_names == ("tench", "goldfish") and found.protocol["limit"] == 3 and len(found.templates) == 81
    (tmp_path / "few.json").write_text(json.dumps(["tench"]))
    with pytest.raises(ValueError, match="class_names"):
        imagenet_val(str(root), class_names=str(tmp_path / "few.json"), limit=3)


def test_names_of_classes_need_a_folder_for_each(tmp_path):
    root = _save(tmp_path / "images", "ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG")
    for names in ({"n01": "tench"}, ["tench"]):
        (tmp_path / "names.json").write_text(json.dumps(names))
        for build in (imagenet_val, imagenet_v2):
            with pytest.raises(ValueError, match="one folder for each class, got ILSVRC2012_val_00000001.JPEG outside"):
                build(str(root), class_names=str(tmp_path / "names.json"), limit=2)
    _check(imagenet_val(str(root), limit=2), 2)


def test_classes_of_imagenet_v2_are_numbers(tmp_path):
    root = _save(tmp_path / "images", "2/x.png", "10/y.png")
    (tmp_path / "names.json").write_text(json.dumps(["two", "ten"]))
    found = imagenet_v2(str(root), class_names=str(tmp_path / "names.json"), limit=2)
    assert {sample.name: found.class_names[sample.label] for sample in found.samples} == {
        "10/y.png": "ten",
        "2/x.png": "two",
    }


def _karpathy(path: Path, folder: str | None) -> str:
    entries = [
        {"filename": f"{n}.png", "split": split, "sentences": [{"raw": f" {n} {i}. "} for i in range(5)]}
        for n, split in (("a", "test"), ("b", "train"), ("c", "test"))
    ]
    path.write_text(json.dumps({"images": [entry | ({"filepath": folder} if folder else {}) for entry in entries]}))
    return str(path)


def test_captions_are_those_of_karpathys_test_split(tmp_path):
    root = _save(tmp_path, "val2014/a.png", "val2014/c.png", "a.png", "c.png")
    found = _check(coco(str(root), split=_karpathy(tmp_path / "coco.json", "val2014"), limit=2), 2)
    assert found.samples[1].captions == tuple(f"c {i}." for i in range(5))
    found = _check(flickr30k(str(root), split=_karpathy(tmp_path / "flickr.json", None), limit=2), 2)
    assert [sample.name for sample in found.samples] == ["a.png", "c.png"]
    (root / "c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"c\.png"):
        flickr30k(str(root), split=str(tmp_path / "flickr.json"), limit=2)


def test_a_data_set_in_parquet(tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    images = [Image.fromarray(photo(20, 30, seed)) for seed in range(3)]
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string"), "kind": datasets.ClassLabel(names=["x", "y"])}
    )
    rows = datasets.Dataset.from_dict({"image": images, "text": list("abc"), "kind": [0, 1, 1]}, features=features)
    (tmp_path / "rows").mkdir()
    rows.to_parquet(tmp_path / "rows" / "0.parquet")
    found = _check(hub_images(str(tmp_path / "rows"), caption="text", label="kind", size=16), 3)
    assert found.samples[2].captions == ("c",) and found.samples[2].label == 1 and found.class_names == ("x", "y")
    assert found.samples[0].load().shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="'sentence'"):
        hub_images(str(tmp_path / "rows"), caption="sentence")


def test_images_of_a_data_set_are_those_of_files(tmp_path):
    """Also those with transparency, which the library shows without, and of 16 bits, of which it keeps 8."""
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    (tmp_path / "files").mkdir(), (tmp_path / "rows").mkdir()
    clear = np.concatenate([photo(20, 30), photo(20, 30, 1)[..., :1]], axis=2)
    Image.fromarray(clear).save(tmp_path / "files" / "0.png")
    (tmp_path / "files" / "1.png").write_bytes(png16(_edge(20)))
    Image.fromarray(photo(20, 30)).save(tmp_path / "files" / "2.png")
    files = image_folder(str(tmp_path / "files"), size=16)
    paths = [str(tmp_path / "files" / sample.name) for sample in files.samples]
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_dict({"image": paths}, features=features)
    rows.to_parquet(tmp_path / "rows" / "0.parquet")
    found = _check(hub_images(str(tmp_path / "rows"), size=16), 3)
    for row, file in zip(found.samples, files.samples, strict=True):
        assert torch.equal(row.load(), file.load())
    datasets.Dataset.from_dict({"image": [3]}).to_parquet(tmp_path / "rows" / "0.parquet")
    with pytest.raises(ValueError, match="row 0: image must be an image, its bytes or its path, got int"):
        hub_images(str(tmp_path / "rows"), size=16).samples[0].load()


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("clips")
    for name, frames in (("b.mp4", 20), ("a.mp4", 9)):
        write_video(root / name, smooth_clip(frames, 48, 70), 4.0)
    return root


def test_whole_videos_and_pieces(clips):
    found = _check(video_folder(str(clips), max_frames=12), 2)
    assert [tuple(sample.load().shape) for sample in found.samples] == [(9, 3, 48, 70), (12, 3, 48, 70)]
    found = _check(video_folder(str(clips), size=32, multiple=16, frames=8, every=5), 4)
    assert [sample.name for sample in found.samples] == ["a.mp4@0", "b.mp4@0", "b.mp4@5", "b.mp4@10"]
    assert all(sample.load().shape == (8, 3, 32, 32) for sample in found.samples)
    whole = video_folder(str(clips)).samples[1].load()
    piece = video_folder(str(clips), frames=8, every=5).samples[2].load()
    assert torch.equal(piece, whole[5:13])


def test_videos_that_are_too_short_for_pieces_are_told(clips):
    found = _check(video_folder(str(clips), frames=12, every=8), 2)
    assert [sample.name for sample in found.samples] == ["b.mp4@0", "b.mp4@8"]
    assert found.protocol["left out"] == "1 of 2 videos, which are shorter"
    assert "left out" not in video_folder(str(clips), frames=9).protocol
    with pytest.raises(ValueError, match="frames must be at most the 20 of the longest video, got 21"):
        video_folder(str(clips), frames=21)


def test_frames_for_retrieval_are_one_a_second(clips):
    # 20 frames at 4 a second: seconds begin at frames 0, 4, 8, 12, 16; three of these five by linspace: 0, 2, 4.
    whole = video_folder(str(clips)).samples[1].load()
    assert torch.equal(load_sparsely(clips / "b.mp4"), whole[[0, 4, 8, 12, 16]])
    assert torch.equal(load_sparsely(clips / "b.mp4", most=3), whole[[0, 8, 16]])


def test_videos_with_sentences(clips, tmp_path):
    (tmp_path / "pairs.csv").write_text("key,video_id,sentence\n0,b,a clip\n1,a,another\n")
    found = _check(msrvtt_1ka(str(clips), str(tmp_path / "pairs.csv"), limit=2), 2)
    assert found.samples[0].name == "b.mp4" and found.samples[0].captions == ("a clip",)
    with pytest.raises(ValueError, match="1,000"):
        msrvtt_1ka(str(clips), str(tmp_path / "pairs.csv"))
    (tmp_path / "captions.json").write_text(json.dumps({"a": ["x", "y"], "b": ["z"], "c": ["w"]}))
    (tmp_path / "test.txt").write_text("b\na\n")
    arguments = (str(clips), str(tmp_path / "captions.json"), str(tmp_path / "test.txt"))
    found = _check(msvd(*arguments, limit=2), 2)
    assert found.protocol["captions"] == 3 and found.samples[1].captions == ("x", "y")
    (tmp_path / "test.txt").write_text("c\n")
    with pytest.raises(FileNotFoundError, match="c.avi"):
        msvd(*arguments, limit=1)


def test_davis_is_folders_of_pictures(tmp_path):
    _save(tmp_path / "JPEGImages" / "480p", "bear/00001.jpg", "bear/00000.jpg", "cow/00000.jpg")
    found = _check(davis(str(tmp_path), resolution="480p", limit=2), 2)
    assert found.samples[0].load().shape == (2, 3, 32, 48)
    assert len(davis(str(tmp_path), resolution="480p", max_frames=1, limit=2).samples[0].load()) == 1
    with pytest.raises(ValueError, match="50 samples"):
        davis(str(tmp_path), resolution="480p")
    (tmp_path / "videos.txt").write_text("cow\nelk\n")
    with pytest.raises(FileNotFoundError, match="elk"):
        davis(str(tmp_path), resolution="480p", videos=str(tmp_path / "videos.txt"), limit=2)


def test_objects_have_classes(tmp_path):
    trimesh = pytest.importorskip("trimesh", reason="meshes need trimesh")
    for name in ("toy_car/a.ply", "ball/b.ply"):
        (tmp_path / name).parent.mkdir()
        trimesh.creation.box((1, 2, 3)).export(tmp_path / name)
    found = _check(object_folder(str(tmp_path)), 2)
    assert float(np.ptp(found.samples[0].load().vertices, axis=0).max()) == pytest.approx(1.0)
    (tmp_path / "list.txt").write_text("toy_car/a.ply\nball/b.ply\n")
    found = _check(toys4k(str(tmp_path), str(tmp_path / "list.txt"), limit=2), 2)
    assert found.class_names == ("ball", "toy car") and [sample.label for sample in found.samples] == [0, 1]
    with pytest.raises(ValueError, match="3,229"):
        toys4k(str(tmp_path), str(tmp_path / "list.txt"))


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda empty: image_folder(str(empty)), "image-folder"),
        (lambda empty: image_folder(str(empty / "none")), "none"),
        (lambda empty: imagenet_val(str(empty)), "image-net.org"),
        (lambda empty: coco(str(empty)), "cocodataset.org"),
        (lambda empty: flickr30k(str(empty), str(empty / "split.json")), "split"),
        (lambda empty: davis(str(empty)), "davischallenge.org"),
        (lambda empty: tokenbench(str(empty)), "TokenBench"),
        (lambda empty: msrvtt_1ka(str(empty), str(empty / "pairs.csv")), "pairs"),
        (lambda empty: toys4k(str(empty), str(empty / "list.txt")), "list"),
        (lambda empty: object_folder(str(empty)), "object-folder"),
    ],
)
def test_missing_data_is_named_with_where_it_is_to_be_had(build, name, tmp_path):
    with pytest.raises(FileNotFoundError, match=name):
        build(tmp_path)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda root: image_folder(str(root), size=0), "size"),
        (lambda root: image_folder(str(root), limit=0), "limit"),
        (lambda root: imagenet_val(str(root)), "50,000"),
        (lambda root: coco(str(root)), "5,000"),
        (lambda root: labeled_folder(str(root)), "class"),
    ],
)
def test_bad_options_are_named(build, name, tmp_path):
    with pytest.raises(ValueError, match=name):
        build(_save(tmp_path, "a.png"))


@pytest.mark.parametrize("options", [{"size": 0}, {"every": 0, "frames": 8}, {"frames": -1}, {"multiple": 0}])
def test_bad_options_of_videos_are_named(options, clips):
    with pytest.raises(ValueError, match="must be positive"):
        video_folder(str(clips), **options)
