"""Bad input of the models of image to 3D: each is an error that names the argument."""

import pytest
import torch

from atoken.generation import SparseStructureFlowModel, StructuredLatentFlowModel

from .object_helpers import latent_flow, structure_flow, structure_vae

COORDS = torch.tensor([[0, 1, 2, 3], [0, 3, 2, 1], [0, 7, 7, 7]])
STARTS, TIME, CONDITION = torch.tensor([0, 3]), torch.tensor([500.0]), torch.zeros(1, 5, 32)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (structure_vae, {"latent_channels": 0}, "latent_channels must be at least 1"),
        (structure_vae, {"block_out_channels": ()}, "block_out_channels must be one positive number or more"),
        (structure_flow, {"sample_size": 0}, "sample_size must be at least 1"),
        (structure_flow, {"num_layers": 0}, "num_layers must be at least 1"),
        (structure_flow, {"mlp_ratio": 0.0}, "mlp_ratio must be above 0"),
        (structure_flow, {"num_attention_heads": 1, "attention_head_dim": 4}, "the width, .* at least 6, got 4"),
        (latent_flow, {"sample_size": 7}, "sample_size must be an even number above 0, got 7"),
        (latent_flow, {"io_layers": 0}, "io_layers must be at least 1"),
        (latent_flow, {"latents_std": None}, "latents_mean and latents_std must be given together"),
    ],
)
def test_configurations(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.parametrize("model", [SparseStructureFlowModel, StructuredLatentFlowModel])
def test_presets_that_do_not_exist(model):
    with pytest.raises(ValueError, match="name must be one of tiny, B, L, XL, got 'XXL'"):
        model.from_preset("XXL")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_states": torch.zeros(1, 2, 4, 4, 5)}, r"hidden_states must be \(B, 2, 4, 4, 4\)"),
        ({"timestep": torch.zeros(2)}, r"timestep must be \(1,\) and floating point in \[0, 1000\], got \(2,\)"),
        ({"timestep": torch.tensor([5])}, "timestep must be .* got .* torch.int64"),
        ({"encoder_hidden_states": torch.zeros(1, 5, 16)}, r"encoder_hidden_states must be \(B, M, 32\)"),
        ({"encoder_hidden_states": torch.zeros(3, 5, 32)}, "encoder_hidden_states must be of 1 or of 1 samples, got 3"),
        ({"encoder_hidden_states": []}, "encoder_hidden_states must be of this model's 2 blocks, got 0"),
    ],
)
def test_inputs_of_the_first_stage(change, message):
    inputs = {"hidden_states": torch.zeros(1, 2, 4, 4, 4), "timestep": TIME, "encoder_hidden_states": CONDITION}
    with pytest.raises(ValueError, match=message):
        structure_flow()(**{**inputs, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_states": torch.zeros(3, 5)}, r"hidden_states must be \(N, 4\), got \(3, 5\)"),
        ({"hidden_states": torch.zeros(2, 4)}, "hidden_states must have a row for each of 3 voxels, got 2"),
        ({"coords": COORDS.float()}, "coords must be a tensor of int32 or int64, got torch.float32"),
        ({"coords": COORDS[:, 1:]}, r"coords must be \(N, 4\)"),
        ({"coords": COORDS + torch.tensor([0, 0, 1, 0])}, r"coords must have x, y, z in \[0, 8\), .* from 1 to 8"),
        ({"coords": COORDS - torch.tensor([0, 2, 0, 0])}, r"coords must have x, y, z in \[0, 8\), .* from -1 to 7"),
        ({"coords": COORDS[[0, 1, 0]]}, "coords must not hold a voxel twice within a sample"),
        ({"cu_seqlens": torch.tensor([0, 2])}, "cu_seqlens must rise from 0 to the number of voxels, 3"),
        ({"cu_seqlens": torch.tensor([0, 3, 3])}, "cu_seqlens must rise"),
        ({"cu_seqlens": torch.tensor([3])}, r"cu_seqlens must be \(B \+ 1,\) with B > 0"),
        ({"cu_seqlens": [0, 3]}, "cu_seqlens must be a tensor of int32 or int64, got list"),
        ({"timestep": torch.zeros(2)}, r"timestep must be \(1,\)"),
        ({"encoder_hidden_states": torch.zeros(2, 5, 32)}, "encoder_hidden_states must be of 1 or of 1 samples, got 2"),
    ],
)
def test_inputs_of_the_second_stage(change, message):
    inputs = {"hidden_states": torch.zeros(3, 4), "coords": COORDS, "cu_seqlens": STARTS, "timestep": TIME}
    with pytest.raises(ValueError, match=message):
        latent_flow()(**{**inputs, "encoder_hidden_states": CONDITION, **change})


def test_inputs_of_the_autoencoder():
    vae = structure_vae()
    with pytest.raises(ValueError, match=r"occupancy must be \(B, 1, X, Y, Z\), sides multiples of 2, got"):
        vae.encode(torch.zeros(1, 1, 8, 8, 7))
    with pytest.raises(ValueError, match="occupancy must be"):
        vae.encode(torch.zeros(1, 8, 8, 8))
    with pytest.raises(ValueError, match=r"latents must be \(B, 2, r, r, r\)"):
        vae.decode(torch.zeros(1, 3, 4, 4, 4))
