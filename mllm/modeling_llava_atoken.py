"""A language model that sees through the AToken encoder: SlowFast-LLaVA-1.5 with our tower (paper, section 5.1).

Read it top-down: patches -> encoder -> projector -> the places of the placeholders in the prompt -> language model.
"""

import os
from typing import Any

import torch
from torch import distributed, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.dynamic_module_utils import custom_object_save
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.llava_onevision.modeling_llava_onevision import (
    LlavaOnevisionCausalLMOutputWithPast,
    LlavaOnevisionModelOutputWithPast,
)
from transformers.utils import torch_compilable_check
from transformers.utils.generic import accepts_precomputed_kwargs, can_return_tuple

from .configuration_llava_atoken import AtokenLlavaConfig
from .encoding_llava_atoken import encode_media, list_media
from .projector_llava_atoken import AtokenLlavaMultiModalProjector
from .remote_code_atoken import auto_class_of, bind_to_package
from .special_tokens_llava_atoken import IMAGE_TOKEN, TURN_END, VIDEO_TOKEN, add_media_tokens

Pooled = tuple[torch.Tensor, torch.Tensor]


class AtokenLlavaPreTrainedModel(PreTrainedModel):
    """Holds what transformers asks of every class of the model."""

    config: AtokenLlavaConfig
    config_class = AtokenLlavaConfig
    base_model_prefix = "model"
    input_modalities = ("image", "video", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, AtokenLlavaMultiModalProjector):
            for vector in (module.image_newline, module.slow_fast_separator):
                init.normal_(vector, std=vector.shape[0] ** -0.5)

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        tower = self.base_model.vision_tower
        if self._auto_class is not None and tower._auto_class is not None:
            os.makedirs(save_directory, exist_ok=True)
            # The encoder's code goes along, and its configuration says which classes of it to use.
            custom_object_save(tower, save_directory, config=tower.config)
            custom_object_save(tower.config, save_directory, config=tower.config)
        super().save_pretrained(save_directory, *args, **kwargs)


class AtokenLlavaModel(AtokenLlavaPreTrainedModel):
    """
    Implements encoder, projector and language model without its head.

    The encoder runs without gradients as long as none of its parameters is trained.
    """

    def __init__(self, config: AtokenLlavaConfig):
        super().__init__(config)
        # Whoever runs this as remote code has said to trust the repository, of which the encoder's code is part.
        trusted = auto_class_of(__name__, "AutoModel") is not None
        self.vision_tower = AutoModel.from_config(config.vision_config, trust_remote_code=True if trusted else None)
        self.multi_modal_projector = new_projector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Gives the language model's token embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    @accepts_precomputed_kwargs(modality="image")
    def get_image_features(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """
        Gives the language model's tokens of images.

        Args:
            pixel_values: (N, patch_dim / frames of a patch), the patches of all images, in [-1, 1].
            image_grid_thw: (n, 3) integers: 1, patch rows and patch columns of each image.
            kwargs: have no effect.

        Returns:
            `pooler_output`: one (n_i, text_dim) tensor for each image.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        features = self.encode_features(pixel_values, image_grid_thw, None, None)
        return BaseModelOutputWithPooling(pooler_output=self.multi_modal_projector(*features)[0])

    @can_return_tuple
    @accepts_precomputed_kwargs(modality="video")
    def get_video_features(
        self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """
        Gives the language model's tokens of videos.

        Args:
            pixel_values_videos: (N, patch_dim / frames of a patch), the patches of all frames, in [-1, 1].
            video_grid_thw: (n, 3) integers: frames, patch rows and patch columns of each video.
            kwargs: have no effect.

        Returns:
            `pooler_output`: one (n_i, text_dim) tensor for each video.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        features = self.encode_features(None, None, pixel_values_videos, video_grid_thw)
        return BaseModelOutputWithPooling(pooler_output=self.multi_modal_projector(*features)[1])

    def encode_features(
        self,
        pixel_values: torch.Tensor | None,
        image_grid_thw: torch.Tensor | None,
        pixel_values_videos: torch.Tensor | None,
        video_grid_thw: torch.Tensor | None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """
        Encodes images and videos together; the arguments are those of [`AtokenLlavaModel.forward`].

        Returns:
            Features (h, w, vision_dim) of each image and (T, h, w, vision_dim) of each video.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        vision = self.config.vision_config
        frames = vision.patch_size[0]
        rows, media, counts = [], [], []
        for name, grid_name, pixels, grid in (
            ("pixel_values", "image_grid_thw", pixel_values, image_grid_thw),
            ("pixel_values_videos", "video_grid_thw", pixel_values_videos, video_grid_thw),
        ):
            listed = []
            if pixels is not None:
                width = vision.patch_dim // frames
                if pixels.ndim != 2 or pixels.shape[1] != width or not pixels.is_floating_point():
                    raise ValueError(f"{name} must be floats (N, {width}), got {pixels.dtype} {tuple(pixels.shape)}")
                if grid is None:
                    raise ValueError(f"{grid_name} must be given with {name}, got None")
                listed = list_media(grid.tolist(), len(pixels), grid_name, name)
                if name == "pixel_values" and any(medium.grid[0] != 1 for medium in listed):
                    raise ValueError(f"{grid_name} must have 1 frame for each image, got {grid.tolist()}")
                before = sum(map(len, rows))
                for medium in listed:
                    medium.start += before
                rows.append(pixels)
            media += listed
            counts.append(len(listed))
        if not media:
            return [], []
        pixels = torch.cat(rows) if len(rows) > 1 else rows[0]
        tower = self.vision_tower
        trained = any(parameter.requires_grad for parameter in tower.parameters())
        # Sharded weights are gathered by all processes at each call, so that all have to make as many.
        together = self.training and distributed.is_available() and distributed.is_initialized()
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            features = encode_media(
                tower,
                pixels.to(tower.device, tower.dtype),
                media,
                frames,
                self.config.video_input == "clip",
                self.config.vision_feature_layer,
                None if together else self.config.vision_batch_tokens,
            )
        return [each[0] for each in features[: counts[0]]], features[counts[0] :]

    def get_placeholder_mask(
        self,
        input_ids: torch.Tensor | None,
        inputs_embeds: torch.Tensor,
        features: torch.Tensor,
        kind: str = "image",
    ) -> torch.Tensor:
        """
        Finds the placeholders of images or videos in a prompt.

        Args:
            input_ids: (B, L), or None to compare the embeddings.
            inputs_embeds: (B, L, text_dim).
            features: (n, text_dim), what is to stand there.
            kind: "image" or "video".

        Returns:
            (B, L, 1) bool.

        Raises:
            ValueError: if there are more or fewer placeholders than features.
        """
        token_id = getattr(self.config, f"{kind}_token_id")
        if input_ids is None:
            embedding = self.get_input_embeddings()(torch.tensor(token_id, device=inputs_embeds.device))
            mask = (inputs_embeds == embedding).all(-1)
        else:
            mask = input_ids == token_id
        count = mask.sum()
        torch_compilable_check(
            count == len(features),
            f"{kind.capitalize()} features and {kind} tokens do not match, tokens: {count}, features: {len(features)}",
        )
        return mask.unsqueeze(-1).to(inputs_embeds.device)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        pooled_images: list[torch.Tensor] | None = None,
        pooled_videos: list[Pooled] | None = None,
        **kwargs,
    ) -> LlavaOnevisionModelOutputWithPast:
        r"""
        Runs the language model on a prompt in which media stand in the place of their placeholders.

        Args:
            input_ids (`torch.LongTensor`, *optional*): (B, L).
            pixel_values (`torch.Tensor`, *optional*): (N, patch_dim / frames of a patch), the patches of all images.
            pixel_values_videos (`torch.Tensor`, *optional*): the same of all frames of all videos.
            image_grid_thw (`torch.LongTensor`, *optional*): (n, 3), 1, patch rows and patch columns of each image.
            video_grid_thw (`torch.LongTensor`, *optional*): (n, 3), frames, patch rows and columns of each video.
            attention_mask, position_ids, past_key_values, inputs_embeds: as for the language model.
            mm_encoder_outputs (`dict`, *optional*): under "image" and "video" what `get_image_features` and
                `get_video_features` gave; then the pixels are not given.
            pooled_images (`list`, *optional*): in place of pixels, what the projector's `pool_image` gave earlier, one
                tensor for each image.
            pooled_videos (`list`, *optional*): the same of its `pool_video`, one pair for each video.

        Returns:
            The outputs of the language model, with `image_hidden_states` and `video_hidden_states`.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds must be given")
        has_pixels = pixel_values is not None or pixel_values_videos is not None
        has_pooled = pooled_images is not None or pooled_videos is not None
        outputs_given = any(value is not None for value in (mm_encoder_outputs or {}).values())
        if has_pixels + has_pooled + outputs_given > 1:
            raise ValueError(
                "only one of pixel_values or pixel_values_videos, mm_encoder_outputs, and pooled_images or "
                "pooled_videos must be given"
            )
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        self._check_context(inputs_embeds.shape[1])
        if outputs_given:
            tokens = [getattr(mm_encoder_outputs.get(kind), "pooler_output", None) for kind in ("image", "video")]
        elif has_pooled:
            tokens = self.multi_modal_projector(pooled_images or [], pooled_videos or [], pooled=True)
        elif has_pixels:
            features = self.encode_features(pixel_values, image_grid_thw, pixel_values_videos, video_grid_thw)
            tokens = self.multi_modal_projector(*features)
        else:
            tokens = [None, None]
        if self.training and torch.is_grad_enabled() and not any(tokens):
            inputs_embeds = inputs_embeds + self._nothing_seen(inputs_embeds, has_pooled).to(inputs_embeds.dtype)

        shown = []
        for kind, media in zip(("image", "video"), tokens, strict=True):
            joined = None
            if media:
                joined = torch.cat(list(media)).to(inputs_embeds.device, inputs_embeds.dtype)
                mask = self.get_placeholder_mask(input_ids, inputs_embeds, joined, kind)
                inputs_embeds = inputs_embeds.masked_scatter(mask, joined)
            shown.append(joined)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        return LlavaOnevisionModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=shown[0],
            video_hidden_states=shown[1],
        )

    def _nothing_seen(self, like: torch.Tensor, has_pooled: bool) -> torch.Tensor:
        """
        Gives a zero that depends on all that media pass through, out of one gray image.

        Processes that share weights or gradients wait for each other at each part, so that none may leave one out
        because its batch has no media.
        """
        projector, side = self.multi_modal_projector, self.config.image_pool_stride
        vision = self.config.vision_config
        if has_pooled:
            tokens = projector([like.new_zeros(1, 1, vision.hidden_size)], [], pooled=True)
        else:
            patches = like.new_zeros(side**2, vision.patch_dim // vision.patch_size[0])
            tokens = projector(*self.encode_features(patches, torch.tensor([[1, side, side]]), None, None))
        return 0.0 * tokens[0][0].sum()

    def _check_context(self, length: int) -> None:
        config = self.config.text_config
        limit = getattr(config, "max_position_embeddings", None)
        if limit is None:
            return
        # A rotary embedding that is scaled reaches beyond the positions that the language model was trained on.
        rope = getattr(config, "rope_parameters", None) or {}
        scaled = rope.get("original_max_position_embeddings", limit) * (rope.get("factor") or 1.0)
        limit = max(limit, int(scaled))
        if length > limit:
            raise ValueError(
                f"input_ids must be at most the {limit} tokens of the language model's context, got {length}. Give "
                "fewer or smaller media, or average more of their patches."
            )


class AtokenLlavaForConditionalGeneration(AtokenLlavaPreTrainedModel, GenerationMixin):
    """
    Implements the multimodal language model: images, videos and text to text (paper, section 5.1).

    ```python
    model = AtokenLlavaForConditionalGeneration.from_pretrained(folder)
    inputs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, add_generation_prompt=True)
    answer = model.generate(**inputs, max_new_tokens=32)
    ```
    """

    _tied_weights_keys = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: AtokenLlavaConfig):
        super().__init__(config)
        self.model = AtokenLlavaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_pretrained_parts(
        cls,
        tower: Any,
        language_model: Any,
        tokenizer: Any = None,
        dtype: torch.dtype | None = None,
        **fields,
    ) -> "AtokenLlavaForConditionalGeneration":
        """
        Joins an encoder and a language model of two checkpoints, with their weights and a new projector.

        Args:
            tower: an encoder or a whole AToken model, or the folder or Hub name of one.
            language_model: a causal language model of transformers, or the folder or Hub name of one. It becomes part
                of the new model.
            tokenizer: its text tokenizer, which gets the special tokens that it lacks; by default that beside
                `language_model`, which must then be a name.
            dtype: of the new model; by default the language model's.
            fields: of [`AtokenLlavaConfig`].

        Raises:
            ValueError: if there is no tokenizer, or the language model's head has a bias.
        """
        if tokenizer is None:
            if not isinstance(language_model, str):
                raise ValueError("tokenizer must be given with a language_model that is loaded already, got None")
            tokenizer = AutoTokenizer.from_pretrained(language_model)
        if isinstance(language_model, str):
            language_model = AutoModelForCausalLM.from_pretrained(language_model, dtype=dtype or "auto")
        if isinstance(tower, str):
            tower = AutoModel.from_pretrained(tower)
        tower = getattr(tower, "vision_model", tower)
        head = language_model.get_output_embeddings()
        if getattr(head, "bias", None) is not None:
            raise ValueError(
                f"language_model must have a head without bias, got one with: {type(language_model).__name__}"
            )
        add_media_tokens(tokenizer)
        if len(tokenizer) > language_model.get_input_embeddings().num_embeddings:
            language_model.resize_token_embeddings(len(tokenizer))
            head = language_model.get_output_embeddings()
        dtype = dtype or language_model.dtype
        image_id, video_id, turn_end = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN, TURN_END])
        config = AtokenLlavaConfig(
            vision_config=tower.config,
            text_config=language_model.config,
            image_token_id=image_id,
            video_token_id=video_id,
            dtype=dtype,
            **fields,
        )
        with torch.device("meta"):
            model = cls(config)
        model.model.vision_tower, model.model.language_model = tower, language_model.base_model
        model.model.multi_modal_projector = new_projector(config)
        model.lm_head = head
        model.tie_weights()
        model.generation_config = language_model.generation_config
        ends = model.generation_config.eos_token_id
        ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
        model.generation_config.eos_token_id = sorted({*ends, turn_end})
        tower.to(language_model.device)
        # Parameters alone: positions are computed from buffers that have to stay in fp32.
        for parameter in model.parameters():
            parameter.data = parameter.data.to(language_model.device, dtype)
        return model.eval()

    def get_input_embeddings(self) -> nn.Module:
        """Gives the language model's token embeddings."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the language model's token embeddings."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Gives the head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replaces the head."""
        self.lm_head = value

    def get_image_features(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Gives the tokens of images, as [`AtokenLlavaModel.get_image_features`] does."""
        return self.model.get_image_features(pixel_values, image_grid_thw, **kwargs)

    def get_video_features(
        self, pixel_values_videos: torch.Tensor, video_grid_thw: torch.Tensor | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Gives the tokens of videos, as [`AtokenLlavaModel.get_video_features`] does."""
        return self.model.get_video_features(pixel_values_videos, video_grid_thw, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.Tensor | None = None,
        pixel_values_videos: torch.Tensor | None = None,
        image_grid_thw: torch.LongTensor | None = None,
        video_grid_thw: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        pooled_images: list[torch.Tensor] | None = None,
        pooled_videos: list[Pooled] | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs,
    ) -> LlavaOnevisionCausalLMOutputWithPast:
        r"""
        Gives the logits of the next tokens. The arguments are those of [`AtokenLlavaModel.forward`] and:

        Args:
            labels (`torch.LongTensor`, *optional*): (B, L), ids to predict, -100 where none is.
            logits_to_keep (`int` or `torch.Tensor`): how many logits of the end to compute, or which; 0 for all.

        Returns:
            `loss` with labels, `logits` (B, L, vocab_size), and what the language model gives.

        Raises:
            ValueError: naming the argument that does not fit.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            pixel_values_videos=pixel_values_videos,
            image_grid_thw=image_grid_thw,
            video_grid_thw=video_grid_thw,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            pooled_images=pooled_images,
            pooled_videos=pooled_videos,
            return_dict=True,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits = self.lm_head(hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.text_config.vocab_size, **kwargs
            )
        return LlavaOnevisionCausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
            video_hidden_states=outputs.video_hidden_states,
        )


def new_projector(config: AtokenLlavaConfig) -> AtokenLlavaMultiModalProjector:
    """Makes the projector of a configuration, with new weights."""
    return AtokenLlavaMultiModalProjector(
        config.vision_config.hidden_size,
        config.text_config.hidden_size,
        image_pool_stride=config.image_pool_stride,
        slow_frames=config.slow_frames,
        slow_stride=config.slow_stride,
        fast_grid=tuple(config.fast_grid),
        pool_after_projector=config.pool_after_projector,
    )


for _model_class, _auto_class in (
    (AtokenLlavaModel, "AutoModel"),
    (AtokenLlavaForConditionalGeneration, "AutoModelForImageTextToText"),
):
    _model_class._auto_class = auto_class_of(__name__, _auto_class)
bind_to_package(__name__)

__all__ = ["AtokenLlavaForConditionalGeneration", "AtokenLlavaModel", "AtokenLlavaPreTrainedModel"]
