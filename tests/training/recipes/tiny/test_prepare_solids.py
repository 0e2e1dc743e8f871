"""Small solids prepared as objects: that they fill their pictures, are found in solids/, and are drawn once."""

import pytest

from atoken.training.recipes.tiny.prepare_solids import main
from atoken.training.recipes.tiny.prepared_objects import PreparedObject
from atoken.training.recipes.tiny.surface_steps import ObjectSurface

pytest.importorskip("trimesh")
pytest.importorskip("embreex")


def test_solids_are_prepared_once_and_fill_their_pictures(tmp_path):
    main(tmp_path, count=2, views=3, size=48)
    first, second = sorted(tmp_path.iterdir())
    assert (first.name, second.name) == ("solid-0-00000.safetensors", "solid-0-00001.safetensors")
    for path in (first, second):
        item = PreparedObject.load(path)
        assert item.images.shape == (3, 3, 48, 48) and 200 < len(item.coords) < 5000
        seen = (item.images.amax(1) > 0).flatten(1)  # (3, 48 * 48)
        assert (seen.float().mean(1) > 0.15).all()
        # The pictures' colors are those of the surface.
        colors = item.images.flatten(2).transpose(1, 2)[seen].float().mean(0)
        found = ObjectSurface.load(path).surface
        assert (found.rgb[found.counts > 0].float().mean((0, 1)) - colors).abs().max() < 40
    kept = first.stat().st_mtime_ns
    second.unlink()
    main(tmp_path, count=2, views=3, size=48)
    assert first.stat().st_mtime_ns == kept and second.is_file()
