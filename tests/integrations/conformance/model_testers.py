"""What transformers' modeling tests ask a "model tester" for: a tiny configuration and inputs that fit it."""

from unittest.mock import patch

import torch
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from atoken import AtokenConfig, AtokenVisionConfig

from ...modeling.helpers import TEXT, WIDTH, as_tokens, media, pack, tiny_config

BATCH = 7


def dense_inputs() -> dict[str, torch.Tensor]:
    """Seven images of 2 x 3 tokens."""
    return {"pixel_values": media(BATCH, 3, 32, 48)}


def packed_inputs() -> dict[str, torch.Tensor]:
    """Six samples of seven tokens in all, one of them a video.

    Seven, because tests cut every input to its first seven rows, and six, because lengths then are seven numbers.
    """
    clips = [(5, 16, 16), *[(1, 16, 16)] * (BATCH - 2)]
    samples = [as_tokens(media(*clip[:1], 3, *clip[1:], seed=seed)) for seed, clip in enumerate(clips)]
    return dict(zip(("pixel_values", "coords", "cu_seqlens"), pack(samples), strict=True))


class AtokenModelTester:
    """
    Args:
        parent: the test case.
        packed: whether media come as packed tokens or as dense images.
        discrete: whether the model has a quantizer.
        text: whether it has a text tower.
    """

    batch_size = BATCH
    hidden_size = WIDTH
    num_hidden_layers = 2
    num_attention_heads = 2
    is_training = True

    def __init__(self, parent, packed: bool, discrete: bool = False, text: bool = False):
        self.parent = parent
        self.packed, self.discrete, self.text = packed, discrete, text
        inputs = packed_inputs() if packed else dense_inputs()
        # The encoder of a whole model returns packed tokens for dense images as well.
        self.seq_length = len(inputs["pixel_values"]) * (1 if packed else 6)

    def get_config(self) -> AtokenConfig:
        # Cosines that are not scaled up differ as little between attention kernels as hidden states do.
        return tiny_config(discrete=self.discrete, text=self.text, logit_scale_init_value=0.0)

    def prepare_config_and_inputs_for_common(self):
        inputs = packed_inputs() if self.packed else dense_inputs()
        if self.text:
            samples = len(inputs["cu_seqlens"]) - 1 if self.packed else BATCH
            generator = torch.Generator().manual_seed(0)
            inputs["input_ids"] = torch.randint(3, TEXT["vocab_size"], (samples, 5), generator=generator)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        return self.get_config(), inputs


class AtokenVisionModelTester(AtokenModelTester):
    is_training = False  # a tower has no loss of its own

    def __init__(self, parent, packed: bool):
        super().__init__(parent, packed)
        self.seq_length = BATCH if packed else 6

    def get_config(self) -> AtokenVisionConfig:
        return super().get_config().vision_config


class CommonModelTests:
    """What all test classes of models share."""

    # The test looks for the year of a model in its source, and leaves out those that do not say.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        self.model_tester = self.make_tester()
        test = self._testMethodName
        if test == "test_retain_grad_hidden_states_attentions":
            # The towers return no attention weights, but hidden states.
            self.has_attentions = False
        if test == "test_model_forward_default_config_values" or "rope" in test:
            # These look only at the classes that transformers knows by name as base models.
            names = {
                model_class.config_class.model_type: model_class.__name__ for model_class in self.all_model_classes
            }
            known = patch.dict(MODEL_MAPPING_NAMES, names)
            known.start()
            self.addCleanup(known.stop)
