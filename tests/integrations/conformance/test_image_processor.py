"""transformers' common image processing tests."""

import unittest

from atoken.processing import AtokenImageProcessor

from .harness import Conformance, common

image_processing = common("test_image_processing_common")


class AtokenImageProcessingTester(image_processing.ImageProcessingTester):
    """Images of up to 16 x 16 pixels, so that a batch has as many tokens as images and its shape can be foretold.

    At least 5, because sides of 1, 3 and 4 can be taken for channels.
    """

    def __init__(self, parent, **kwargs):
        settings = {
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.5, 0.25, 0.5],
            "patch_size": [4, 16, 16],
            "rescale_factor": 1 / 255,
        }
        super().__init__(parent, min_resolution=5, max_resolution=17, **{**settings, **kwargs})

    def _get_image_processing_classes(self):
        return {"torchvision": AtokenImageProcessor}

    def expected_output_image_shape(self, images):
        return (4 * 16 * 16 * 3,)


class ImageProcessorTest(Conformance, image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = AtokenImageProcessingTester
    test_cast_dtype = True
