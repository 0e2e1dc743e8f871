"""Which of transformers' common tests cannot apply to the multimodal language model; as `not_applicable.py`."""

# What tests demand that this model does not have.
_EXPERTS = "a mixture of experts; neither the encoder nor the language model that is tested has one"
_ENCODER_STATES = (
    "hidden states and attention weights of the encoder beside its features; media are encoded a limited number of "
    "tokens at a time, and of each piece the features alone are kept"
)
_RENAMED_WEIGHTS = "weights that are renamed when they are loaded; checkpoints here hold the names that the model has"
_FP32 = "parts that are kept in fp32; the encoder's norms and positions compute in fp32 by themselves"

# What they demand that its processors do not have.
_ONE_BACKEND = "a second image backend to compare with; there is one, torchvision"
_AUDIO = "audio; the model takes images, videos and text"
_SIGNATURE = "a `preprocess` that lists its options; they are typed dictionaries here, which transformers validates"

NOT_APPLICABLE_LLAVA: dict[str, str] = {
    "test_generation_tester_mixin_inheritance": (
        "the common tests of generation; transformers publishes them in no distribution. tests/mllm generates greedily "
        "and by beams, in batches and alone, with caches and without, compiled and not"
    ),
    "test_get_image_features_hidden_states": _ENCODER_STATES,
    "test_get_image_features_attentions": _ENCODER_STATES,
    "test_get_video_features_hidden_states": _ENCODER_STATES,
    "test_get_video_features_attentions": _ENCODER_STATES,
    "test_eager_matches_sdpa_inference_24_fp32_pad_left_output_attentions": (
        "attention weights of every part; the encoder returns none, see not_applicable.py"
    ),
    "test_eager_matches_batched_and_grouped_inference_*": _EXPERTS,
    "test_moe_models_record_router_logits": _EXPERTS,
    "test_output_router_logits_from_config": _EXPERTS,
    "test_encoder_decoder_loss_no_double_shift": "an encoder-decoder; the language model is a decoder",
    "test_keep_in_fp32_modules*": _FP32,
    "test_model_rope_with_partial_rotation": "a rotary embedding of a part of each head; Qwen2 turns all of it",
    "test_vision_axial_rope": "a rotary embedding on two axes; the encoder's has four, see not_applicable.py",
    "test_sliding_window_mask": "a sliding window; Qwen2 has none by default, and makes its masks itself",
    "test_resize_position_vector_embeddings": (
        "`resize_position_embeddings`; the encoder resizes its table of positions in every forward pass"
    ),
    "test_can_load_from_already_mapped_keys": _RENAMED_WEIGHTS,
    "test_reverse_loading_mapping": _RENAMED_WEIGHTS,
    "test_sdpa_can_dispatch_non_composite_models": (
        "a configuration of one part; this model's has two, and another test looks at these"
    ),
    # Processors.
    "test_backends_equivalence*": _ONE_BACKEND,
    "test_save_load_backends*": _ONE_BACKEND,
    "test_pil_can_run_without_torchvision": _ONE_BACKEND,
    "LlavaImageProcessorTest.test_call_numpy_4_channels": (
        "an output of four channels; a patch holds RGB, so `do_convert_rgb=False` is refused for others"
    ),
    "test_override_instance_attributes_does_not_affect_other_instances": (
        "a default `size` of sides; media keep about their own size, between two areas"
    ),
    "test_image_processor_preprocess_arguments": _SIGNATURE,
    "test_video_processor_preprocess_arguments": _SIGNATURE,
    "test_*_audio": _AUDIO,
    "test_apply_chat_template_audio_[0-9]": _AUDIO,
    "test_chat_template_audio_*": _AUDIO,
    "test_apply_chat_template_tool_calls_no_content": "tools; the model was not trained to call any",
    "test_apply_chat_template_video_frame_sampling": (
        "an error for frames that are given as pictures; they are chosen from as the frames of any video"
    ),
}
