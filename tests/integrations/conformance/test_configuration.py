"""transformers' common configuration tests on every configuration."""

import json
import unittest

from atoken import AtokenConfig, AtokenDecoderConfig, AtokenQuantizerConfig, AtokenVisionConfig

from ...modeling.helpers import LATENTS, tiny_config
from .harness import Conformance, common
from .model_testers import AtokenModelTester

configuration = common("test_configuration_common")

TOWER = {
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "patch_size": [2, 8, 8],
    "tile_frames": 8,
    "cache_frames": 4,
}


class ConfigurationTest(Conformance, unittest.TestCase):
    def check(self, config_class, common_properties=None, **settings):
        self.model_tester = AtokenModelTester(self, packed=True, discrete=True, text=True)
        tester = configuration.ConfigTester(self, config_class, False, common_properties, **settings)
        tester.run_common_tests()

    def test_vision_config(self):
        self.check(AtokenVisionConfig, **TOWER, vision_use_head=False)

    def test_decoder_config(self):
        self.check(AtokenDecoderConfig, **TOWER, rms_norm_eps=1e-5)

    def test_quantizer_config(self):
        self.check(AtokenQuantizerConfig, ["num_codebooks", "levels"], num_codebooks=3, levels=5)

    def test_config(self):
        self.check(AtokenConfig, latent_channels=LATENTS, latents_mean=[0.5] * LATENTS)

    def test_config_with_all_parts(self):
        config = json.loads(tiny_config(discrete=True, text=True).to_json_string())
        parts = {name: config[name] for name in AtokenConfig.sub_configs}
        self.check(AtokenConfig, latent_channels=LATENTS, **parts)
