"""transformers' common video processing tests."""

import unittest

from atoken.processing import AtokenVideoProcessor
from atoken.tokens_atoken import unpatchify

from ...modeling.helpers import PATCH
from .harness import Conformance, common

video_processing = common("test_video_processing_common")


class FramesProcessor(AtokenVideoProcessor):
    """Puts the tokens of videos of up to 16 x 16 pixels together again."""

    def preprocess(self, videos, **kwargs):
        batch = super().preprocess(videos, **kwargs)
        count, frames = len(batch.media_sizes), int(batch.media_sizes[0, 0])
        grids = batch.pixel_values.reshape(count, -1, 1, 1, batch.pixel_values.shape[-1])
        batch["frames"] = unpatchify(grids, PATCH)[:, :frames]  # (B, T, C, 16, 16)
        return batch


class AtokenVideoProcessingTester:
    """Videos of one token each, so that a batch has as many tokens as videos and its shape can be foretold.

    Sides are at least 5, because 1, 3 and 4 can be taken for channels.
    """

    batch_size = 5
    num_frames = 4
    num_channels = 3

    def __init__(self, as_frames: bool):
        self.as_frames = as_frames

    def expected_output_video_shape(self, videos):
        return (self.num_frames, 3, 16, 16) if self.as_frames else (4 * 16 * 16 * 3,)

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return video_processing.prepare_video_inputs(
            self.batch_size, self.num_frames, self.num_channels, 5, 17, equal_resolution, return_tensors
        )


class VideoProcessorTest(Conformance, video_processing.VideoProcessingTestMixin, unittest.TestCase):
    test_cast_dtype = True
    video_processor_dict = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.5, 0.25, 0.5], "patch_size": [4, 16, 16]}

    def setUp(self):
        # Two tests look at the axis of frames or channels, which tokens do not have.
        as_frames = self._testMethodName in ("test_call_sample_frames", "test_call_numpy_4_channels")
        self.fast_video_processing_class = FramesProcessor if as_frames else AtokenVideoProcessor
        self.input_name = "frames" if as_frames else "pixel_values"
        self.video_processor_tester = AtokenVideoProcessingTester(as_frames)
        if self._testMethodName == "test_video_processor_from_dict_with_kwargs":
            # What the test expects to find; nothing is cropped by it.
            sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 18, "width": 18}}
            self.video_processor_dict = {**sizes, "default_to_square": False}
        super().setUp()
