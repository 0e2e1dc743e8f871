"""transformers' common modeling tests on the multimodal language model."""

import unittest
from unittest.mock import patch

from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, MODEL_MAPPING_NAMES

from atoken.mllm import AtokenLlavaForConditionalGeneration, AtokenLlavaModel

from .harness import Conformance, common
from .llava_model_tester import AtokenLlavaModelTester

modeling = common("test_modeling_common")


class LlavaModelTest(Conformance, modeling.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (AtokenLlavaModel, AtokenLlavaForConditionalGeneration)
    additional_model_inputs = ["image_grid_thw", "pixel_values_videos", "video_grid_thw"]
    _is_composite = True
    # Media have their own numbers of tokens, so features are lists and have no batch of one shape.
    skip_test_image_features_output_shape = skip_test_video_features_output_shape = True

    # The test looks for the year of a model in its source, and leaves out those that do not say.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = AtokenLlavaModelTester(self)
        # Tests look classes up among those that transformers knows by name.
        for names, model_class in zip(
            (MODEL_MAPPING_NAMES, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES), self.all_model_classes, strict=True
        ):
            known = patch.dict(names, {model_class.config_class.model_type: model_class.__name__})
            known.start()
            self.addCleanup(known.stop)
