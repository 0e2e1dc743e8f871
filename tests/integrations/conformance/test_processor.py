"""transformers' common tests of a processor of several modalities."""

import unittest

from atoken.processing import AtokenImageProcessor, AtokenProcessor, AtokenVideoProcessor

from ...processing.samples import tiny_tokenizer
from .harness import Conformance, common

processing = common("test_processing_common")


class ProcessorTest(Conformance, processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = AtokenProcessor
    videos_input_name = "pixel_values"

    @classmethod
    def _setup_image_processor(cls):
        return AtokenImageProcessor()

    @classmethod
    def _setup_video_processor(cls):
        return AtokenVideoProcessor()

    @classmethod
    def _setup_tokenizer(cls):
        return tiny_tokenizer()
