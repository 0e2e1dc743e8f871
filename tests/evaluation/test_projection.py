"""t-SNE and neighbors: clusters that are plain to see are found, and chance is chance."""

import pytest
import torch

from atoken.evaluation.models.atoken_features import AtokenFeatures
from atoken.evaluation.projection import neighbor_accuracy, scatter_plot, tsne
from atoken.evaluation.results import Result

from ..cli_samples import save_model


@pytest.fixture
def clusters() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    return torch.eye(8)[labels] + 0.05 * torch.randn(60, 8, generator=generator), labels


def test_neighbors_of_clusters_and_of_noise(clusters):
    embeddings, labels = clusters
    assert neighbor_accuracy(embeddings, labels) == 1.0
    # Alone in its class, a sample is never right.
    assert neighbor_accuracy(embeddings[:3], labels[:3], neighbors=1) == 0.0


def test_clusters_stay_apart_in_two_dimensions(clusters):
    embeddings, labels = clusters
    points = tsne(embeddings)
    assert torch.equal(points, tsne(embeddings))
    centers = torch.stack([points[labels == label].mean(0) for label in range(3)])
    assert torch.equal(torch.cdist(points, centers).argmin(1), labels)
    found = {"points": points.tolist(), "labels": labels.tolist(), "classes": list("abc")}
    picture = scatter_plot([Result("a", "set", "image", "projection", {"tsne": found}, {})] * 2)
    assert picture.startswith(b"\x89PNG")


@pytest.mark.parametrize(("layer", "width"), [("features", 48), ("latents", 12), ("codes", 12)])
def test_layers_are_means_over_tokens(layer, width, tmp_path):
    model = save_model(tmp_path, discrete=True)
    features = AtokenFeatures(str(tmp_path), layer)
    sample = torch.randint(0, 256, (1, 3, 32, 48), dtype=torch.uint8)
    found = features.embed([sample])
    assert found.shape == (1, width)
    with torch.no_grad():
        encoded = model.encode(sample / 127.5 - 1)
    expected = {
        "features": encoded.last_hidden_state,
        "latents": encoded.latent_dist.mode(),
        "codes": model.quantizer.from_codes(encoded.codes),
    }[layer]
    torch.testing.assert_close(found[0], expected.reshape(-1, width).mean(0), atol=1e-5, rtol=1e-5)
