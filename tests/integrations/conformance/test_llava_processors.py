"""transformers' common tests of the processors of the multimodal language model."""

import unittest

from atoken.mllm import AtokenLlavaImageProcessor, AtokenLlavaProcessor, AtokenLlavaVideoProcessor

from ...mllm.parts import tokenizer
from .harness import Conformance, common

image_processing = common("test_image_processing_common")
video_processing = common("test_video_processing_common")
processing = common("test_processing_common")

ONE_PATCH = {"patch_size": 16, "size_multiple": 16, "size": {"min_pixels": 0, "max_pixels": 256}}


class LlavaImageProcessingTester(image_processing.ImageProcessingTester):
    """Images of one patch each, so that a batch has as many rows as images and its shape can be foretold.

    Sides are at least 5, because 1, 3 and 4 can be taken for channels.
    """

    def __init__(self, parent, **kwargs):
        settings = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.5, 0.25, 0.5], "rescale_factor": 1 / 255}
        super().__init__(parent, min_resolution=5, max_resolution=17, **{**settings, **ONE_PATCH, **kwargs})

    def _get_image_processing_classes(self):
        return {"torchvision": AtokenLlavaImageProcessor}

    def expected_output_image_shape(self, images):
        return (16 * 16 * 3,)


class LlavaImageProcessorTest(Conformance, image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = LlavaImageProcessingTester
    test_cast_dtype = True


class FramesProcessor(AtokenLlavaVideoProcessor):
    """Puts the rows of videos of one patch together again."""

    def preprocess(self, videos, **kwargs):
        batch = super().preprocess(videos, **kwargs)
        rows = batch.pixel_values_videos.reshape(len(batch.video_grid_thw), -1, 16, 16, 3)
        batch["frames"] = rows.permute(0, 1, 4, 2, 3)  # (B, T, C, 16, 16)
        return batch


class LlavaVideoProcessingTester:
    """Videos of one patch in each frame."""

    batch_size = 5
    num_frames = 4
    num_channels = 3

    def expected_output_video_shape(self, videos):
        return (self.num_frames, 3, 16, 16)

    def prepare_video_inputs(self, equal_resolution=False, return_tensors="pil"):
        return video_processing.prepare_video_inputs(
            self.batch_size, self.num_frames, self.num_channels, 5, 17, equal_resolution, return_tensors
        )


class LlavaVideoProcessorTest(Conformance, video_processing.VideoProcessingTestMixin, unittest.TestCase):
    test_cast_dtype = True
    video_processor_dict = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.5, 0.25, 0.5], **ONE_PATCH}

    def setUp(self):
        as_frames = self._testMethodName.startswith("test_call_") or self._testMethodName == "test_nested_input"
        self.fast_video_processing_class = FramesProcessor if as_frames else AtokenLlavaVideoProcessor
        self.input_name = "frames" if as_frames else "pixel_values_videos"
        self.video_processor_tester = LlavaVideoProcessingTester()
        if self._testMethodName == "test_video_processor_from_dict_with_kwargs":
            # What the test expects to find; nothing is cropped by it.
            sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 18, "width": 18}}
            self.video_processor_dict = {**sizes, "default_to_square": False}
        super().setUp()


class LlavaProcessorTest(Conformance, processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = AtokenLlavaProcessor
    # Every byte is a token here, and a video has many.
    videos_text_kwargs_max_length, videos_text_kwargs_override_max_length = 250, 240
    videos_unstructured_max_length = 250

    @classmethod
    def _setup_image_processor(cls):
        return AtokenLlavaImageProcessor(size={"min_pixels": 0, "max_pixels": 64**2})

    @classmethod
    def _setup_video_processor(cls):
        return AtokenLlavaVideoProcessor(size={"min_pixels": 32**2, "max_pixels": 64**2})

    @classmethod
    def _setup_tokenizer(cls):
        return tokenizer()
