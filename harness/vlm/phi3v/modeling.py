"""Phi-3-vision on transformers' own Phi3 and CLIP parts; parameter names are those of the published checkpoints.

    picture -> crops of 336 x 336 -> CLIP ViT-L/14, 23 of its 24 layers -> 576 x 1024 a crop
            -> 2 x 2 patches merged: 12 x 12 x 4096 a crop -> crops laid out as one picture, a separator after each row
            -> MLP -> [tokens, 3072] a picture -> at the negative ids of the prompt

Enters: input_ids [B, S] in which a negative id is a place for a picture token (as the published processor writes them;
they are never changed in place), and pixel_values [pictures, crops, 3, 336, 336] with image_sizes [pictures, 2], or
image_features computed before. Leaves: logits, as of any causal language model.
Tokens of a picture: (rows * cols + 1) * 144 + 1 + (rows + 1) * 12; 757 for 2 x 2 crops, 2,509 for 4 x 4.
Cost: the crops of all pictures run through the tower in one call (about 0.35 GiB of activations per 64 crops in bf16
without gradients); padding crops are not run at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Phi3ForCausalLM, Phi3Model, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.clip.modeling_clip import CLIPEncoder, CLIPVisionEmbeddings

from harness.vlm.phi3v.configuration import Phi3VConfig

#: ids in (LOWEST, 0) are places for picture tokens
LOWEST = -1_000_000_000
#: <|end|> and <|endoftext|>: what ends an answer
STOP_TOKEN_IDS = (32007, 32000)


class Phi3VVisionModel(nn.Module):
    """The CLIP tower under its published names. Its last layer and `post_layernorm` are loaded and saved, never run."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embeddings = CLIPVisionEmbeddings(config)
        # transformers, like the checkpoints, spells it so.
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[N, 3, H, W] -> [N, patches, C]: the output of the last layer but one, without the class token."""
        hidden: Tensor = self.pre_layrnorm(self.embeddings(pixel_values))
        for layer in self.encoder.layers[:-1]:
            hidden = layer(hidden, None)
        return hidden[:, 1:]


class Phi3VImageProcessorModule(nn.Module):
    """The level `img_processor.` of the published names."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.vision_model = Phi3VVisionModel(config)


class Phi3VImageEmbedding(nn.Module):
    """Pictures -> token embeddings of the decoder's width."""

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__()
        vision = config.vision_config()
        vision._attn_implementation = config._attn_implementation
        width = 4 * vision.hidden_size
        self.order = (config.embd_layer or {}).get("hd_transform_order", "sub_glb")
        self.tile = int(vision.image_size)
        self.img_processor = Phi3VImageProcessorModule(vision)
        self.glb_GN = nn.Parameter(torch.zeros(1, 1, width))
        self.sub_GN = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.img_projection = nn.Sequential(
            nn.Linear(width, config.hidden_size), nn.GELU(), nn.Linear(config.hidden_size, config.hidden_size)
        )

    def forward(self, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
        """The features of each picture.

        Args:
            pixel_values: [pictures, crops, 3, H, W]: the overview, then the tiles row by row, then padding.
            image_sizes: [pictures, 2], (height, width) of the padded picture in pixels, multiples of the tile.

        Returns:
            One [tokens, hidden] a picture.
        """
        grids = [(int(h) // self.tile, int(w) // self.tile) for h, w in image_sizes.tolist()]
        used = [1 + rows * cols for rows, cols in grids]
        crops = torch.cat([picture[:count] for picture, count in zip(pixel_values, used, strict=True)])
        vision = self.img_processor.vision_model
        patches = vision(crops.to(self.glb_GN.dtype))
        merged = _merge_2x2(patches)
        pictures = [self._lay_out(own, rows, cols) for own, (rows, cols) in zip(merged.split(used), grids, strict=True)]
        lengths = [len(picture) for picture in pictures]
        projected: Tensor = self.img_projection(torch.cat(pictures))
        return list(projected.split(lengths))

    def _lay_out(self, tiles: Tensor, rows: int, cols: int) -> Tensor:
        """[1 + rows * cols, side, side, C] -> [tokens, C]: the tiles as one picture, and the overview."""
        side, width = tiles.shape[1], tiles.shape[3]
        whole = tiles[1:].view(rows, cols, side, side, width).permute(0, 2, 1, 3, 4)
        parts = [
            self._with_separators(whole.reshape(rows * side, cols * side, width)),
            self.glb_GN[0],
            self._with_separators(tiles[0]),
        ]
        return torch.cat(parts if self.order == "sub_glb" else parts[::-1])

    def _with_separators(self, picture: Tensor) -> Tensor:
        """[rows, cols, C] -> [rows * (cols + 1), C]: a separator after each row."""
        separators = self.sub_GN[0].expand(picture.shape[0], 1, -1)
        return torch.cat([picture, separators], dim=1).flatten(0, 1)


def _merge_2x2(patches: Tensor) -> Tensor:
    """[N, side * side, C] -> [N, side / 2, side / 2, 4 C], neighbours in the order (0,0), (0,1), (1,0), (1,1)."""
    count, places, width = patches.shape
    half = round(places**0.5) // 2
    grid = patches.view(count, half, 2, half, 2, width).permute(0, 1, 3, 2, 4, 5)
    return grid.reshape(count, half, half, 4 * width)


class _InitsVision(PreTrainedModel):  # type: ignore[misc]  # transformers is untyped
    """Initialises what Phi3PreTrainedModel does not know. from_pretrained builds on the meta device, so a buffer that
    no checkpoint holds (the tower's position_ids) would else be left as memory happened to be."""

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CLIPVisionEmbeddings):
            init.normal_(module.class_embedding, mean=0.0, std=module.embed_dim**-0.5)
            init.copy_(module.position_ids, torch.arange(module.num_positions).expand((1, -1)))
        elif isinstance(module, Phi3VImageEmbedding):
            init.zeros_(module.glb_GN)
            init.zeros_(module.sub_GN)


class Phi3VModel(_InitsVision, Phi3Model):  # type: ignore[misc]  # transformers is untyped
    """Phi3Model whose prompt may hold pictures."""

    config_class = Phi3VConfig

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.vision_embed_tokens = Phi3VImageEmbedding(config)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """See Phi3VForConditionalGeneration.forward."""
        if inputs_embeds is None:
            assert input_ids is not None, "either input_ids or inputs_embeds"
            inputs_embeds = self.embed(input_ids, pixel_values, image_sizes, image_features)
        if position_ids is None and attention_mask is not None and attention_mask.dim() == 2:
            position_ids = _positions_of_left_padded(attention_mask, inputs_embeds.shape[1])
        return super().forward(
            attention_mask=attention_mask, position_ids=position_ids, inputs_embeds=inputs_embeds, **kwargs
        )

    def embed(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None,
        image_sizes: Tensor | None,
        image_features: Sequence[Tensor] | None,
    ) -> Tensor:
        """Token embeddings [B, S, hidden], with the pictures' features at the negative ids.

        Raises:
            ValueError: places and features differ in number.
        """
        places = (input_ids < 0) & (input_ids > LOWEST)
        embeds: Tensor = self.embed_tokens(input_ids.clamp(min=0))
        if image_features is None and pixel_values is not None:
            assert image_sizes is not None, "pixel_values come with image_sizes"
            image_features = self.vision_embed_tokens(pixel_values, image_sizes)
        found = 0 if image_features is None else sum(len(picture) for picture in image_features)
        expected = int(places.sum())
        if found != expected:
            raise ValueError(f"the prompt has {expected} places for picture tokens, the pictures fill {found}")
        if image_features is None or not found:
            return embeds
        features = torch.cat(list(image_features)).to(embeds.device, embeds.dtype)
        return embeds.masked_scatter(places.unsqueeze(-1), features)


def _positions_of_left_padded(attention_mask: Tensor, length: int) -> Tensor | None:
    """Positions counted from each row's first token; None where no row is padded on the left, or tokens are cached."""
    if attention_mask.shape[1] != length or bool(attention_mask[:, 0].all()):
        return None
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


class Phi3VForConditionalGeneration(_InitsVision, Phi3ForCausalLM):  # type: ignore[misc]  # transformers is untyped
    """Phi-3-vision with its language-model head."""

    config_class = Phi3VConfig
    # An alias of embed_tokens in the original's state_dict; no published checkpoint holds it.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"vision_embed_tokens\.wte\."]

    def __init__(self, config: Phi3VConfig) -> None:
        super().__init__(config)
        self.model = Phi3VModel(config)
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

    def get_image_features(self, pixel_values: Tensor, image_sizes: Tensor) -> list[Tensor]:
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
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, S, vocab], and the loss where labels are given.

        Args:
            input_ids: [B, S]; ids in (-1e9, 0) are places for picture tokens, in row-major order of the batch.
            attention_mask: [B, S], 1 for tokens; padding may be on either side.
            position_ids: [B, S]; None counts from each row's first token.
            labels: [B, S]; -100 is masked. Mean cross entropy over the others, shifted, in fp32.
            pixel_values: [pictures, crops, 3, H, W], pictures in the order of their places.
            image_sizes: [pictures, 2], (height, width) after padding.
            image_features: one [tokens, hidden] a picture, in place of pixel_values.

        Raises:
            ValueError: places and pictures do not fit.
        """
        if inputs_embeds is None:
            assert input_ids is not None, "either input_ids or inputs_embeds"
            inputs_embeds = self.model.embed(input_ids, pixel_values, image_sizes, image_features)
        return super().forward(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        image_sizes: Tensor | None = None,
        image_features: Sequence[Tensor] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Pictures go in whenever the prompt is computed: at the start, and again where the long rope begins and the
        cache is dropped."""
        # transformers 5.24 calls it cache, earlier ones past_key_values.
        name = "cache" if "cache" in kwargs else "past_key_values"
        begins = self.config.original_max_position_embeddings + 1
        if (known := kwargs.get(name)) is not None and input_ids.shape[1] >= begins > known.get_seq_length() > 0:
            # The cached keys were turned by the short factors: compute the whole row anew, not its last token alone.
            kwargs[name] = kwargs["next_sequence_length"] = None
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(input_ids, **kwargs)
        cache = inputs.get("cache", inputs.get("past_key_values"))
        if cache is None or cache.get_seq_length() == 0:
            inputs.update(pixel_values=pixel_values, image_sizes=image_sizes, image_features=image_features)
        return inputs
