"""transformers' common modeling tests on the vision tower."""

import unittest

from atoken import AtokenVisionModel

from .harness import Conformance, common
from .model_testers import AtokenVisionModelTester, CommonModelTests

modeling = common("test_modeling_common")


class VisionModelTest(Conformance, CommonModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    """Dense images."""

    all_model_classes = (AtokenVisionModel,)

    def make_tester(self):
        return AtokenVisionModelTester(self, packed=False)


class PackedVisionModelTest(Conformance, CommonModelTests, modeling.ModelTesterMixin, unittest.TestCase):
    """Samples of several sizes in one batch."""

    all_model_classes = (AtokenVisionModel,)
    additional_model_inputs = ["coords", "cu_seqlens"]

    def make_tester(self):
        return AtokenVisionModelTester(self, packed=True)
