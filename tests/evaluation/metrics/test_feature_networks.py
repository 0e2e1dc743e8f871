"""Networks of features: that weights are found or asked for at once, and that what goes into them is the protocol."""

import lpips
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from atoken.evaluation.metrics.feature_networks import I3dFeatures, InceptionFeatures, Lpips


@pytest.mark.parametrize(
    ("network", "name"), [(Lpips, "vgg16-397923af"), (InceptionFeatures, "inception"), (I3dFeatures, "i3d_torchscript")]
)
def test_missing_weights_say_which_and_how(network, name, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=name):
        network()
    with pytest.raises(FileNotFoundError, match="nowhere"):
        network(tmp_path / "nowhere.pth")


@pytest.mark.parametrize("network", [Lpips, InceptionFeatures, I3dFeatures])
def test_a_wrong_file_is_named(network, tmp_path):
    path = tmp_path / "wrong.pth"
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"wrong\.pth"):
        network(path)


def test_lpips_is_that_of_the_package(tmp_path):
    torch.manual_seed(0)
    reference = lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).eval()
    slices = [getattr(reference.net, f"slice{i}") for i in range(1, 6)]
    state = {f"features.{name}": value for part in slices for name, value in part.state_dict().items()}
    torch.save(state, tmp_path / "vgg.pth")
    first, second = torch.randint(0, 256, (2, 2, 3, 64, 48), dtype=torch.uint8)
    with torch.no_grad():
        expected = reference(first / 127.5 - 1, second / 127.5 - 1).flatten()
        found = Lpips(tmp_path / "vgg.pth")(first, second)
    assert found.shape == (2,) and found.min() > 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    del state["features.0.weight"]
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"features\.0\.weight"):
        Lpips(tmp_path / "vgg.pth")


def test_inception_features_of_random_weights(tmp_path, monkeypatch):
    path = tmp_path / "inception.pth"
    torch.save({}, path)
    with monkeypatch.context() as patched:
        # The class only comes with weights; these are its random ones.
        patched.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        torch.manual_seed(0)
        reference = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], str(path))
    torch.save(reference.state_dict(), path)
    images = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    with torch.no_grad():
        features, logits = InceptionFeatures(path)(images)
        torch.testing.assert_close(features, reference(images)[0])
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)


class _Corners(torch.nn.Module):
    """Stands for I3D: reports what it is given."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert not rescale and not resize and return_features
        edges = torch.stack([x.amin((1, 2, 3, 4)), x.amax((1, 2, 3, 4)), x[:, 0, 0, 0, 0]], 1)
        shape = torch.tensor([float(side) for side in x.shape[1:]]).expand(len(x), 4)
        return torch.cat([edges, shape, torch.zeros(len(x), 393)], 1)


def test_i3d_sees_224_pixels_in_minus_one_to_one(tmp_path):
    path = tmp_path / "i3d.pt"
    torch.jit.script(_Corners()).save(str(path))
    videos = torch.zeros(1, 12, 3, 112, 168, dtype=torch.uint8)
    videos[..., 28:140] = 255  # the middle that is left after the crop
    found = I3dFeatures(path)(videos)
    assert found.shape == (1, 400)
    torch.testing.assert_close(found[0, :7], torch.tensor([1.0, 1.0, 1.0, 3.0, 12.0, 224.0, 224.0]), atol=0.5, rtol=0)
    with pytest.raises(ValueError, match="10 frames"):
        I3dFeatures(path)(videos[:, :9])
