"""Phi-3-vision on transformers' own Phi3 parts; parameter names are those of the published checkpoints.

Enters: input_ids [B, S] in which a negative id is a place for a picture token, and the pictures, as pixel_values
[pictures, crops, 3, 336, 336] with image_sizes [pictures, 2], or as image_features computed before. Leaves: logits
[B, S, 32064], as of any causal language model.

Negative ids are the published contract (-1 for the first picture's places, -2 for the second's; the model only looks at
the sign). They are never changed in place. `generate` puts `config.image_token_id` in their places for its own loop,
where penalties and streamers need real ids, and so returns sequences that any tokenizer decodes.

Tokens of a picture: 757 for 2 x 2 tiles, 1,921 for 3 x 4, 2,509 for 4 x 4. Parameters: decoder 3,821,079,552 with head,
tower 303,507,456, projection and separators 22,034,432.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, Phi3ForCausalLM, Phi3Model
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.phi3.modeling_phi3 import Phi3Attention, Phi3MLP, Phi3PreTrainedModel, Phi3RMSNorm

from harness.vlm.phi3v.attention import Phi3VAttention
from harness.vlm.phi3v.configuration import Phi3VConfig
from harness.vlm.phi3v.mlp import Phi3VMLP
from harness.vlm.phi3v.norm import Phi3VRMSNorm
from harness.vlm.phi3v.rope import Phi3VRotaryEmbedding
from harness.vlm.phi3v.vision import Phi3VImageEmbedding

#: ids in (LOWEST, 0) are places for picture tokens
LOWEST = -1_000_000_000
#: <|end|> and <|endoftext|>: what ends an answer
STOP_TOKEN_IDS = (32007, 32000)
#: what transformers calls the cached keys and values: "cache" from 5.24 on, before that "past_key_values"
CACHE = "cache" if "cache" in inspect.signature(Phi3Model.forward).parameters else "past_key_values"
#: what generate() puts at the places of a picture where the vocabulary has no picture token: <unk>, as the original
NO_TOKEN_ID = 0
#: Phi3Model builds its layers by itself; these take their places, with the same weights.
LEAN: dict[type, Any] = {Phi3Attention: Phi3VAttention, Phi3MLP: Phi3VMLP, Phi3RMSNorm: Phi3VRMSNorm}


class Phi3VPreTrainedModel(Phi3PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """What Phi3VModel and Phi3VForConditionalGeneration share."""

    config_class = Phi3VConfig
    input_modalities = ("image", "text")
    _no_split_modules: ClassVar[list[str]] = ["Phi3DecoderLayer", "Phi3VImageEmbedding"]

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Phi3VImageEmbedding):
            init.zeros_(module.glb_GN)
            init.zeros_(module.sub_GN)

    def _set_gradient_checkpointing(self, enable: bool = True, *args: Any, **kwargs: Any) -> None:
        """As PreTrainedModel's, but reentrant checkpointing is refused.

        Raises:
            ValueError: it was asked for; a tower's adapter would silently get no gradient, since pixels need none.
        """
        how = kwargs.get("gradient_checkpointing_func", args[0] if args else None)
        if enable and getattr(how, "keywords", {}).get("use_reentrant"):
            raise ValueError(
                "reentrant checkpointing gives adapters of the vision tower no gradient: "
                'take gradient_checkpointing_kwargs={"use_reentrant": False}'
            )
        super()._set_gradient_checkpointing(enable, *args, **kwargs)


class Phi3VModel(Phi3VPreTrainedModel, Phi3Model):  # type: ignore[misc]
    """Phi3Model whose prompt may hold pictures."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        for module in self.modules():
            module.__class__ = LEAN.get(type(module), type(module))
        self.rotary_emb = Phi3VRotaryEmbedding(config)
        self.vision_embed_tokens = Phi3VImageEmbedding(config)
        self.post_init()

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        """The tower for "image"; there is no other encoder."""
        if modality == "image":
            tower: nn.Module = self.vision_embed_tokens.img_processor.vision_model
            return tower
        found: nn.Module = super().get_encoder(modality)
        return found

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | Sequence[Tensor] | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        places_are_filled: bool = False,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """See Phi3VForConditionalGeneration.forward."""
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("either input_ids or inputs_embeds must be given")
            inputs_embeds = self.embed(
                input_ids, pixel_values, image_sizes, image_features, places_are_filled=places_are_filled
            )
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = positions(attention_mask)[:, -inputs_embeds.shape[1] :]
        return super().forward(
            attention_mask=attention_mask, position_ids=position_ids, inputs_embeds=inputs_embeds, **kwargs
        )

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | Sequence[Tensor] | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        *,
        places_are_filled: bool = False,
    ) -> Tensor:
        """Token embeddings [B, S, hidden], with the pictures' features at the negative ids.

        Raises:
            ValueError: places and pictures do not fit.
        """
        if image_features is None and pixel_values is not None:
            image_features = self.vision_embed_tokens(pixel_values, image_sizes)
        features = list(image_features or ())
        # One token without pictures is a step of decoding: no place to look for, and no waiting for the device.
        if features or input_ids.shape[1] > 1:
            places = picture_places(input_ids)
            if not places_are_filled:
                pictures_of_rows(places, [len(picture) for picture in features])
            input_ids = input_ids.clamp(min=0)
        embeds: Tensor = self.embed_tokens(input_ids)
        if not features:
            return embeds
        filling = torch.cat([picture.to(embeds.device, embeds.dtype) for picture in features])
        return embeds.masked_scatter(places.unsqueeze(-1), filling)


class Phi3VForConditionalGeneration(Phi3VPreTrainedModel, Phi3ForCausalLM):  # type: ignore[misc]
    """Phi-3-vision with its language-model head; the published files call it Phi3VForCausalLM."""

    # An alias of embed_tokens in the original's state_dict; no published checkpoint holds it.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"vision_embed_tokens\.wte\."]

    def __init__(self, config: Phi3VConfig) -> None:
        # Phi3ForCausalLM's own would build a decoder that is thrown away.
        super(Phi3ForCausalLM, self).__init__(config)
        self.model = Phi3VModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()
        self._settle_stop_tokens()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As PreTrainedModel's, with stop tokens that the model really writes."""
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded)._settle_stop_tokens()
        return loaded

    def _settle_stop_tokens(self) -> None:
        """The published files name </s> (2), which the model never writes: an answer would never end."""
        named = self.generation_config.eos_token_id
        if named in (None, 2, [2]) and self.config.vocab_size > max(STOP_TOKEN_IDS):
            self.generation_config.eos_token_id = list(STOP_TOKEN_IDS)
        if self.generation_config.pad_token_id is None:
            self.generation_config.pad_token_id = self.config.pad_token_id

    #: says that forward and generate take image_features in place of pixel_values
    takes_image_features: ClassVar[bool] = True

    def get_picture_embedding(self) -> nn.Module:
        """All that features are made by: tower, separators and projection."""
        embedding: nn.Module = self.model.vision_embed_tokens
        return embedding

    def get_image_features(self, pixel_values: Tensor | Sequence[Tensor], image_sizes: Tensor | None) -> list[Tensor]:
        """The features of pictures, one [tokens, hidden] each, to be passed as image_features later.

        Args:
            pixel_values: [pictures, crops, 3, H, W] from the image processor.
            image_sizes: [pictures, 2] from the image processor.
        """
        features: list[Tensor] = self.model.vision_embed_tokens(pixel_values, image_sizes)
        return features

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        pixel_values: Tensor | Sequence[Tensor] | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        places_are_filled: bool = False,
        past_key_values: Any = None,
        cache: Any = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, S, vocab], and the loss where labels are given.

        Args:
            input_ids: [B, S]; ids in (-1e9, 0) are places for picture tokens, filled row by row.
            attention_mask: [B, S], 1 for tokens; padding may be on either side. With a cache [B, cached + S].
            position_ids: [B, S]; None counts from each row's first token.
            inputs_embeds: [B, S, hidden] in place of ids and pictures.
            labels: [B, S]; negative ones are masked, those at a picture's places among them. Mean cross entropy over
                the others, shifted, in fp32; with `num_items_in_batch` their sum divided by it.
            use_cache: whether to return the keys and values.
            logits_to_keep: the last so many logits alone, or those at these places; 0 is all.
            pixel_values: [pictures, crops, 3, H, W], pictures in the order of their places.
            image_sizes: [pictures, 2], (height, width) after padding.
            image_features: one [tokens, hidden] a picture, in place of pixel_values.
            places_are_filled: the caller knows that places and pictures fit; to look, the host waits for the device.
            past_key_values, cache: the cache, by its name before transformers 5.24 and from then on.

        Raises:
            ValueError: places and pictures do not fit.
        """
        kwargs[CACHE] = past_key_values if cache is None else cache
        if labels is not None:
            labels = labels.masked_fill(labels < 0, -100)
        output: CausalLMOutputWithPast = super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            pixel_values=pixel_values,
            image_sizes=image_sizes,
            image_features=image_features,
            places_are_filled=places_are_filled,
            **kwargs,
        )
        return output

    def _expand_inputs_for_generation(
        self,
        expand_size: int = 1,
        is_encoder_decoder: bool = False,
        input_ids: Tensor | None = None,
        **model_kwargs: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """What generate() begins with: features once a picture, repeated row by row for beams and samples."""
        pixel_values, image_sizes = model_kwargs.pop("pixel_values", None), model_kwargs.pop("image_sizes", None)
        features = model_kwargs.pop("image_features", None)
        if features is None and pixel_values is not None:
            features = self.get_image_features(pixel_values, image_sizes)
        if features is not None and input_ids is not None:
            places = picture_places(input_ids)
            of_rows = iter(features)
            rows = [
                [next(of_rows) for _ in range(count)]
                for count in pictures_of_rows(places, [len(picture) for picture in features])
            ]
            model_kwargs["image_features"] = [f for row in rows for _ in range(expand_size) for f in row]
            model_kwargs["image_places"] = places
            shown = self.config.image_token_id
            input_ids = input_ids.masked_fill(places, NO_TOKEN_ID if shown is None else shown)
        expanded: tuple[Tensor, dict[str, Any]] = super()._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        return expanded

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | Sequence[Tensor] | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        image_places: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Pictures go in whenever their places are computed: at the start, and again where the long rope begins.

        Args:
            input_ids: [B, all tokens so far].
            pixel_values, image_sizes, image_features: the pictures, as for forward.
            image_places: [B, prompt], where generate() took picture places out of input_ids.
            inputs_embeds: [B, prompt, hidden] in place of ids and pictures.
            **kwargs: as for GenerationMixin.

        Raises:
            ValueError: an answer to a prompt of embeddings grows beyond the short rope, so that all is to be computed
                again, and the prompt's ids are not known.
        """
        if self._is_cache_stale(input_ids, **kwargs):
            if inputs_embeds is not None:
                raise ValueError(
                    f"beyond {self.config.original_max_position_embeddings} tokens the prompt is computed again: "
                    "give it as input_ids and image_features, not as inputs_embeds"
                )
            kwargs["next_sequence_length"] = None
            if kwargs[CACHE].is_compileable:
                kwargs[CACHE].reset()
            else:
                kwargs[CACHE] = None
        # Not Phi3ForCausalLM's, which would drop a batch's cache by the width of the batch, static ones too.
        inputs: dict[str, Any] = GenerationMixin.prepare_inputs_for_generation(
            self, input_ids, inputs_embeds=inputs_embeds, **kwargs
        )
        ids = inputs.get("input_ids")
        if ids is None:
            return inputs
        cached = input_ids.shape[1] - ids.shape[1]
        if image_places is None:
            if cached == 0:
                inputs |= {"pixel_values": pixel_values, "image_sizes": image_sizes, "image_features": image_features}
        elif cached < image_places.shape[1]:
            places = image_places[:, cached:]
            ids[:, : places.shape[1]].masked_fill_(places, -1)  # ids is a copy
            inputs["image_features"] = _behind(image_features or (), image_places, cached)
        return inputs

    def _is_cache_stale(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None, **kwargs: Any
    ) -> bool:
        """Whether a row has just grown beyond the short rope: its cached keys were turned by the short factors."""
        limit, cache = self.config.original_max_position_embeddings, kwargs.get(CACHE)
        if cache is None or self.config.rope_parameters["rope_type"] != "longrope":
            return False
        known = next(given for given in (position_ids, attention_mask, input_ids) if given is not None)
        width = known.shape[-1]
        # No row is longer than the batch is wide. Beyond that, asking waits for the device.
        if width <= limit or (cached := int(cache.get_seq_length())) == 0:
            return False
        if position_ids is not None:
            lengths = position_ids[:, -1] + 1
        else:
            lengths = torch.tensor([width]) if attention_mask is None else attention_mask.sum(-1)
        return bool(((lengths > limit) & (lengths - (width - cached) <= limit)).any())


def picture_places(input_ids: Tensor) -> Tensor:
    """[B, S] -> [B, S], true at the places of picture tokens."""
    return (input_ids < 0) & (input_ids > LOWEST)


def pictures_of_rows(places: Tensor, lengths: Sequence[int]) -> list[int]:
    """How many of the pictures belong to each row.

    Args:
        places: [B, S] from picture_places.
        lengths: tokens of each picture, in order.

    Raises:
        ValueError: a row's places are not filled by whole pictures, or pictures are left over.
    """
    counts: list[int] = []
    used = 0
    for row, wanted in enumerate(places.sum(-1).tolist()):
        first, filled = used, 0
        while filled < wanted and used < len(lengths):
            filled += lengths[used]
            used += 1
        if filled != wanted:
            has = f"row {row} has {wanted} places for picture tokens"
            if first == len(lengths):
                raise ValueError(f"{has}, but {f'only {first}' if first else 'no'} pictures are given")
            raise ValueError(f"{has}, but pictures {first + 1} to {used} of the {len(lengths)} given have {filled}")
        counts.append(used - first)
    if used != len(lengths):
        raise ValueError(f"{len(lengths)} pictures are given, but the input_ids have places for {used}")
    return counts


def positions(attention_mask: Tensor) -> Tensor:
    """[B, S] -> [B, S]: positions counted from each row's first token; padding has its neighbour's."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def _behind(features: Sequence[Tensor], places: Tensor, cached: int) -> list[Tensor]:
    """Features of the places that are not cached, one tensor a row; all pictures as they are where nothing is cached.

    Args:
        features: one [tokens, hidden] a picture.
        places: [B, prompt].
        cached: how many tokens of each row are cached.
    """
    if cached == 0:
        return list(features)
    rows = torch.cat(list(features)).split(places.sum(-1).tolist())
    left = [own[row.nonzero().flatten() >= cached] for own, row in zip(rows, places, strict=True)]
    return [own for own in left if len(own)]
