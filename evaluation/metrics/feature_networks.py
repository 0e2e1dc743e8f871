"""The networks of LPIPS, rFID and rFVD, from local files; nothing is fetched behind a user's back."""

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from .weight_files import downloaded_file, read_weights

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
INCEPTION_URL = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
I3D_NAME = "i3d_torchscript.pt"
_NEEDED = 'need {}: pip install "atoken[evaluation]"'


def load_lpips(weights: str | Path | None = None) -> nn.Module:
    """
    Loads the `lpips` package's LPIPS 0.1 with VGG-16 and its own linear layers, frozen.

    Args:
        weights: torchvision's VGG-16 state dict (`VGG16_URL`).

    Raises:
        FileNotFoundError: no weights.
        ImportError: no package.
        ValueError: the weights do not fit.
    """
    path = downloaded_file(weights, VGG16_URL, "lpips")
    network = random_lpips()
    state = read_weights(path, "lpips")
    for part in (getattr(network.net, f"slice{index}") for index in range(1, 6)):
        # lpips keeps torchvision's numbers of layers within its five slices.
        weights_of_part = {name: state.get(f"features.{name}") for name in part.state_dict()}
        missing = [f"features.{name}" for name, value in weights_of_part.items() if value is None]
        if missing:
            raise ValueError(
                f"weights of lpips must be torchvision's VGG-16, got {path}, which lacks {', '.join(missing)}"
            )
        part.load_state_dict(weights_of_part)
    return network


def random_lpips() -> nn.Module:
    """Makes the network of `load_lpips` with a trunk of random weights."""
    try:
        import lpips
    except ImportError as error:
        raise ImportError("LPIPS " + _NEEDED.format("lpips")) from error
    return lpips.LPIPS(net="vgg", pnet_rand=True, verbose=False).requires_grad_(False).eval()


class Lpips(nn.Module):
    """
    Computes LPIPS of uint8 pictures, which it scales to [-1, 1].

    Args:
        weights: see `load_lpips`, also for what it raises.
    """

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        self.network = load_lpips(weights)

    def forward(self, reconstruction: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Compares (N, 3, H, W) uint8 with as many originals: (N,)."""
        return self.network(reconstruction / 127.5 - 1, original / 127.5 - 1).flatten()


class RandomGram(nn.Module):
    """
    Measures textures without trained weights, by the Gram loss (paper, equation 5) in a VGG-16 of fixed random weights.

    Gram matrices of random filters describe textures, too (Ustyuzhaninov et al., 2017). The weights are variance
    preserving (Kaiming normal, seed 0), so that all layers count; those a training draws are others.
    """

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = random_lpips().net
            for layer in self.network.modules():
                if isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    nn.init.zeros_(layer.bias)

    def forward(self, reconstruction: torch.Tensor, original: torch.Tensor) -> torch.Tensor:
        """Compares (N, 3, H, W) uint8 with as many originals: (N,)."""
        predictions, targets = (self.network(pictures / 127.5 - 1) for pictures in (reconstruction, original))
        return sum(
            (gram_matrix(prediction) - gram_matrix(target)).square().sum((1, 2))
            for prediction, target in zip(predictions, targets, strict=True)
        )


def gram_matrix(features: torch.Tensor) -> torch.Tensor:
    """Computes F F^T / (C H W) of features (B, C, H, W): (B, C, C) in float32."""
    flat = features.float().flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class InceptionFeatures(nn.Module):
    """
    Runs torch-fidelity's inception-v3-compat, the network of FID and inception score, with TensorFlow's resizing.

    Raises:
        FileNotFoundError: no weights.
        ValueError: the file is not a state dict.
    """

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        path = downloaded_file(weights, INCEPTION_URL, "rfid")
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ImportError("rFID " + _NEEDED.format("torch-fidelity")) from error
        read_weights(path, "rfid")  # torch-fidelity itself would also unpickle code
        self.network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(path))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gives features (N, 2048) of (N, 3, H, W) uint8, and logits (N, 1008) without bias."""
        return self.network(images)


class I3dFeatures(nn.Module):
    """
    Runs StyleGAN-V's torchscript I3D of rFVD: short side to 224 (bilinear), center crop, [-1, 1].

    Raises:
        FileNotFoundError: no weights.
        ValueError: the file is not torchscript.
    """

    SIDE, FEWEST_FRAMES = 224, 10

    def __init__(self, weights: str | Path | None = None):
        super().__init__()
        path = downloaded_file(weights, I3D_NAME, "rfvd")
        try:
            self.network = torch.jit.load(path, map_location="cpu").eval()
        except RuntimeError as error:
            raise ValueError(f"weights of rfvd must be a torchscript file, got {path}: {error}") from error

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        """
        Gives features (N, 400) of (N, T, 3, H, W) uint8.

        Raises:
            ValueError: fewer than 10 frames.
        """
        count, frames, _, height, width = videos.shape
        if frames < self.FEWEST_FRAMES:
            raise ValueError(f"videos must have at least {self.FEWEST_FRAMES} frames for rfvd, got {frames}")
        scale = self.SIDE / min(height, width)
        size = [max(self.SIDE, round(side * scale)) for side in (height, width)]
        pixels = F.interpolate(videos.flatten(0, 1).float(), size, mode="bilinear", align_corners=False)
        top, left = ((side - self.SIDE) // 2 for side in size)
        pixels = pixels[:, :, top : top + self.SIDE, left : left + self.SIDE] / 127.5 - 1
        # (N, 3, T, 224, 224)
        pixels = pixels.unflatten(0, (count, frames)).transpose(1, 2).contiguous()
        return self.network(pixels, rescale=False, resize=False, return_features=True)
