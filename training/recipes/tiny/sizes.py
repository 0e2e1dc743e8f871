"""Sizes of the tiny recipe: the embedded one, a half-size sibling for the paper's Figure 7, a larger one for GPUs."""

from dataclasses import dataclass

from atoken import AtokenConfig


@dataclass(frozen=True)
class Size:
    """
    Holds what sizes differ in.

    Attributes:
        width: of both towers and of the text tower; heads have 32 channels, MLPs four times the width.
        layers: blocks of each tower.
        gaussian_width, gaussian_layers: of the Gaussian decoder.
    """

    width: int
    layers: int
    gaussian_width: int
    gaussian_layers: int

    @property
    def has_two_bases(self) -> bool:
        """Tells whether a PCA of images and one of videos fit, beside what switches between them (`pca_start`)."""
        return self.width >= 192 and self.layers >= 3

    def config(self, **overrides) -> AtokenConfig:
        """Makes the configuration of this size."""
        tower = {
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // 32,
        }
        return AtokenConfig.from_preset("tiny", vision_config=tower, decoder_config=dict(tower), **overrides)


SIZES = {
    "tiny": Size(192, 4, 128, 4),
    "half": Size(96, 2, 96, 2),
    "large": Size(384, 8, 128, 4),
}
