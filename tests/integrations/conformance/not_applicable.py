"""Which of transformers' common tests cannot apply to the classes of this project, and why.

A key of `NOT_APPLICABLE` is the name of a test, or of several with `*`; with the name of a test class in front it holds
for that class alone. A key of `MACHINE` is what a test says when the machine lacks something.
"""

from fnmatch import fnmatchcase

from .not_applicable_llava import NOT_APPLICABLE_LLAVA

# What tests demand that no model here has.
_TEXT_IN_TEXT_OUT = "a language model, which predicts tokens; nothing here generates or labels text"
_EXPERTS = "a mixture of experts; every block has one MLP"
_VOCABULARY = "input embeddings that are a table of a vocabulary; without a text tower the input is projected patches"
_ATTENTIONS = (
    "attention weights as an output; tokens of a batch attend in sequences of their own lengths, through kernels that "
    "never form the weights, so the towers have none to return"
)
_ROPE = (
    "a rotary embedding with settings for longer text or on two axes; this one has four axes and the frequencies of "
    "the released weights, so `rope_parameters` has no meaning for it"
)
_TENSOR_PARALLEL = "a plan for tensor parallelism; a tower of 0.4 billion parameters runs whole, so none is declared"
_RENAMED_WEIGHTS = "weights that are renamed when they are loaded; checkpoints here hold the names that the model has"
_ONE_CONFIG = "a configuration of several parts; the tower's has none"
_SEVERAL_CONFIGS = "a configuration of one part; a whole model's has several, and another test looks at these"
_SAMPLE_BY_SAMPLE = (
    "inputs whose first rows are the first sample; a packed batch has a row per token, and `cu_seqlens` one more than "
    "samples. The dense classes run this test, and tests/modeling/test_packing.py compares packed samples with single"
)
_TOWER_LOSS = "a loss of the model; a vision tower has none, and the classes of the whole model run this test"
_NO_TEXT = "a text tower; this model has none, and the classes that have one run this test"
_VIEWS = (
    "gradients at the hidden states that are returned; for dense media these are views in the shape of the input, "
    "beside the computation, which runs on packed tokens. The packed classes run this test"
)
_RECORDED = (
    "hidden states that hooks record from each call of a block; a video calls the blocks once per tile and not in "
    "order, so the towers put hidden states together themselves"
)

# What they demand that no processor here has.
_ONE_BACKEND = "a second image backend to compare with; there is one, torchvision"
_FOUR_CHANNELS = "an output of four channels; a token holds RGB, so `do_convert_rgb=False` is refused"
_DEFAULT_SIZE = "a default `size`; media keep their own size unless one is asked for"
_IGNORED_OPTIONS = "options that are ignored with a warning; unknown ones are an error here, see tests/processing"
_CHAT = "a chat template; no language model takes part, texts are compared with media as they are"
_MEDIA_IN_TEXT = "texts that media are spliced into, nested and counted by text; texts and media are independent here"
_AUDIO = "audio; the model takes images, videos and 3D objects"

NOT_APPLICABLE: dict[str, str] = {
    # Models.
    "test_attention_outputs": _ATTENTIONS,
    "*WholeModelTest.test_get_image_features_attentions": _ATTENTIONS,
    "test_eager_matches_sdpa_inference_24_fp32_pad_left_output_attentions": _ATTENTIONS,
    "*VisionModelTest.test_capture_outputs_decorator": _RECORDED,
    "*VisionModelTest.test_can_capture_specific_layers_hidden_states": _RECORDED,
    "PackedDiscreteWholeModelTest.test_capture_outputs_decorator": _RECORDED,
    "PackedDiscreteWholeModelTest.test_can_capture_specific_layers_hidden_states": _RECORDED,
    "test_causal_lm_loss_honors_shift_labels": _TEXT_IN_TEXT_OUT,
    "test_encoder_decoder_loss_no_double_shift": _TEXT_IN_TEXT_OUT,
    "test_sliding_window_mask": "a sliding window over text; a sequence of tokens attends to itself in full",
    "test_inputs_embeds": "`inputs_embeds` in place of token ids; the main input is media, which have no ids",
    "test_resize_position_vector_embeddings": (
        "`resize_position_embeddings`; the table of positions is resized in every forward pass to the size of the media"
    ),
    "test_eager_matches_batched_and_grouped_inference_*": _EXPERTS,
    "test_moe_models_record_router_logits": _EXPERTS,
    "test_output_router_logits_from_config": _EXPERTS,
    "test_keep_in_fp32_modules*": (
        "modules that stay in fp32 whatever the type; norms, positions and quantizer compute in fp32 by themselves"
    ),
    "test_model_rope_*": _ROPE,
    "test_vision_axial_rope": _ROPE,
    "test_tied_head_has_a_tp_plan_entry": _TENSOR_PARALLEL,
    "test_tp_plan_matches_params": _TENSOR_PARALLEL,
    "test_reverse_loading_mapping": _RENAMED_WEIGHTS,
    "*VisionModelTest.test_can_load_from_already_mapped_keys": _RENAMED_WEIGHTS,
    "*WholeModelTest.test_can_load_ignoring_mismatched_shapes": (
        "a head that classifies, and one number for each setting with `_std` in its name; nothing here classifies, and "
        "`latents_std` is a list, one number per channel"
    ),
    "test_resize_embeddings_untied_with_deepspeed*": _VOCABULARY,
    "test_resize_tokens_embeddings_with_deepspeed*": _VOCABULARY,
    "*VisionModelTest.test_model_get_set_embeddings": _VOCABULARY,
    "*VisionModelTest.test_resize_tokens_embeddings": _VOCABULARY,
    "PackedDiscreteWholeModelTest.test_model_get_set_embeddings": _VOCABULARY,
    "PackedDiscreteWholeModelTest.test_resize_tokens_embeddings": _VOCABULARY,
    "PackedDiscreteWholeModelTest.test_get_text_features_*": _NO_TEXT,
    "PackedDiscreteWholeModelTest.test_sdpa_can_dispatch_composite_models": _NO_TEXT,
    "*VisionModelTest.test_attn_implementation_composite_models": _ONE_CONFIG,
    "*VisionModelTest.test_can_set_attention_dynamically_composite_model": _ONE_CONFIG,
    "*VisionModelTest.test_internal_model_config_and_subconfig_are_same": _ONE_CONFIG,
    "*VisionModelTest.test_sdpa_can_dispatch_composite_models": _ONE_CONFIG,
    "*VisionModelTest.test_flash_attn_[234]_can_dispatch_composite_models": _ONE_CONFIG,
    "*WholeModelTest.test_sdpa_can_dispatch_non_composite_models": _SEVERAL_CONFIGS,
    "Packed*ModelTest.test_batching_equivalence": _SAMPLE_BY_SAMPLE,
    "*VisionModelTest.test_training*": _TOWER_LOSS,
    "*VisionModelTest.test_enable_input_require_grads_with_gradient_checkpointing": _TOWER_LOSS,
    "VisionModelTest.test_retain_grad_hidden_states_attentions": _VIEWS,
    "WholeModelTest.test_retain_grad_hidden_states_attentions": _VIEWS,
    # Processors.
    "test_backends_equivalence*": _ONE_BACKEND,
    "test_save_load_backends*": _ONE_BACKEND,
    "test_pil_can_run_without_torchvision": _ONE_BACKEND,
    "ImageProcessorTest.test_call_numpy_4_channels": _FOUR_CHANNELS,
    "test_override_instance_attributes_does_not_affect_other_instances": _DEFAULT_SIZE,
    "test_image_processor_preprocess_arguments": _IGNORED_OPTIONS,
    "test_video_processor_preprocess_arguments": _IGNORED_OPTIONS,
    "test_apply_chat_template_*": _CHAT,
    "test_chat_template_*": _CHAT,
    "test_get_num_multimodal_tokens_matches_processor_call*": _MEDIA_IN_TEXT,
    "test_replacement_offsets": _MEDIA_IN_TEXT,
    "test_processor_text_has_no_visual": _MEDIA_IN_TEXT,
    "ProcessorTest.test_*_audio": _AUDIO,
}

_ACCELERATOR = "a GPU, on which it compares or measures; this machine has none"
_FLASH = "a GPU and a flash-attention package, which has no CPU kernels; one of them is missing here"

MACHINE: dict[str, str] = {
    "test requires accelerator": _ACCELERATOR,
    "test requires multiple accelerators": "several GPUs, over which it spreads a model; this machine has fewer",
    "test requires CUDA": _ACCELERATOR,
    "test requires deepspeed": "DeepSpeed, under which it resizes embeddings; it is not installed here",
    "test requires bitsandbytes": "a GPU and bitsandbytes, for norms beside quantized weights; one is missing here",
    "test requires MPS": "an Apple GPU; this machine has none",
    "test requires the kernels library": "kernels that are downloaded from the Hub; tests here use no network",
    "test requires Flash Attention": _FLASH,
    "test requires Flash Attention 3": _FLASH,
    "test requires Flash Attention 4": _FLASH,
}


def table_of(class_name: str) -> dict[str, str]:
    """The table that holds for a test class: that of the tokenizers, or that of the multimodal language model."""
    return NOT_APPLICABLE_LLAVA if class_name.startswith("Llava") else NOT_APPLICABLE


def not_applicable_reason(class_name: str, test_name: str) -> str | None:
    """The reason for a test of a class, None if it applies."""
    for pattern, reason in table_of(class_name).items():
        if matches(pattern, class_name, test_name):
            return f"demands {reason}"
    return None


def machine_reason(skip: str) -> str | None:
    """The reason for a skip with which a test says what the machine lacks, None if it says something else."""
    return f"demands {MACHINE[skip]}" if skip in MACHINE else None


def matches(pattern: str, class_name: str, test_name: str) -> bool:
    """Whether a key of the table means a test of a class."""
    return fnmatchcase(f"{class_name}.{test_name}" if "." in pattern else test_name, pattern)
