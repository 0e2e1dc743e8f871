"""transformers' common modeling tests on the whole tokenizer."""

import unittest

from atoken import AtokenModel

from .harness import Conformance, common
from .model_testers import AtokenModelTester, CommonModelTests

modeling = common("test_modeling_common")


class WholeModelTests(CommonModelTests):
    all_model_classes = (AtokenModel,)
    additional_model_inputs = ["coords", "cu_seqlens", "input_ids"]
    _is_composite = True

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        # Nothing to label: the loss compares with the media.
        return {**inputs, "return_loss": True} if return_labels else inputs

    def _image_features_prepare_config_and_inputs(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {name: inputs[name] for name in ("pixel_values", "coords", "cu_seqlens") if name in inputs}


class WholeModelTest(Conformance, WholeModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    """Continuous latents and a text tower, dense images."""

    def make_tester(self):
        return AtokenModelTester(self, packed=False, text=True)


class PackedWholeModelTest(Conformance, WholeModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    """Continuous latents and a text tower, samples of several sizes in one batch."""

    def make_tester(self):
        return AtokenModelTester(self, packed=True, text=True)


class PackedDiscreteWholeModelTest(Conformance, WholeModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    """Codes, samples of several sizes in one batch."""

    # The scale and bias of the logits have one only where there are texts.
    test_all_params_have_gradient = False

    def make_tester(self):
        return AtokenModelTester(self, packed=True, discrete=True)
