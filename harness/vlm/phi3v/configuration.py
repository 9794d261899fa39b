"""Phi3VConfig: the published config.json of Phi-3-vision, read as it is and written back in its own form.

Enters: config.json with model_type phi3_v. Leaves: a Phi3Config with the tower's configuration beside it.
Three keys of the published file need care. The rope type "su" is transformers' "longrope", whose dictionary must also
name the length at which the factors change. "_attn_implementation" would demand flash-attention of everyone.
"auto_map" names remote code, which is not needed. The last two are dropped.
"""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import CLIPVisionConfig, Phi3Config

#: <|image|>, which the published prompts never use
IMAGE_TOKEN_ID = 32044
#: what the published files call Phi3VForConditionalGeneration, and what other programs look for
PUBLISHED_CLASS = "Phi3VForCausalLM"

_LONGROPE_NAMES = ("su", "yarn", "longrope")  # of all of Phi-3's files, in the order of their age
_DERIVED_ROPE_KEYS = ("rope_type", "rope_theta", "original_max_position_embeddings", "factor")


@strict
class Phi3VVisionConfig(CLIPVisionConfig):  # type: ignore[misc]  # transformers is untyped
    """Configuration of the tower; the defaults are CLIP ViT-L/14-336, which the published model code has built in.

    It has a name of its own because transformers renames the weights of every "clip_vision_model" on loading, and the
    published names are to stay.
    """

    model_type = "phi3_v_vision"
    base_config_key = "clip_config"

    hidden_size: int = 1024
    intermediate_size: int = 4096
    projection_dim: int = 768
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    image_size: int = 336
    patch_size: int = 14


@strict
class Phi3VConfig(Phi3Config):  # type: ignore[misc]  # transformers is untyped
    """Configuration of Phi-3-vision and Phi-3.5-vision. The decoder's settings stay at the top level, as published.

    Beside Phi3Config's:
        embd_layer: as published; `hd_transform_order` is "sub_glb" (tiles, then overview) or "glb_sub".
        img_processor: as published; `layer_idx` (default -2) says which of the tower's hidden states is used.
        clip_config: the tower; a dictionary of what differs from CLIP ViT-L/14-336. Not in the published files.
        merge_size: patches along a side that are merged into one token. Not in the published files.
        image_token_id: what `generate` returns at the places of a picture; 32044 where the vocabulary has it. Not in
            the published files.
    """

    model_type = "phi3_v"
    sub_configs: ClassVar[dict[str, Any]] = {"clip_config": Phi3VVisionConfig}

    embd_layer: dict[str, Any] | None = None
    img_processor: dict[str, Any] | None = None
    clip_config: dict[str, Any] | Phi3VVisionConfig | None = None
    merge_size: int = 2
    image_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for key in ("auto_map", "_attn_implementation"):
            kwargs.pop(key, None)
        if not isinstance(self.clip_config, Phi3VVisionConfig):
            own = dict(self.clip_config or {})
            own.pop("model_type", None)
            self.clip_config = Phi3VVisionConfig(**own)
        if self.image_token_id is None and self.vocab_size > IMAGE_TOKEN_ID:
            self.image_token_id = IMAGE_TOKEN_ID
        self._refuse_what_the_model_lacks()
        super().__post_init__(**kwargs)

    def _refuse_what_the_model_lacks(self) -> None:
        """The remote code has branches that no published checkpoint takes; they are not carried over.

        Raises:
            ValueError: the configuration takes one of them, or the tower's sizes do not fit one another.
        """
        wanted: dict[str, dict[str, tuple[Any, ...]]] = {
            "embd_layer": {
                "embedding_cls": ("image",),
                "projection_cls": ("mlp",),
                "use_hd_transform": (True,),
                "with_learnable_separator": (True,),
                "hd_transform_order": ("sub_glb", "glb_sub"),
            },
            "img_processor": {"name": ("clip_vision_model",), "type_feature": ("patch",)},
        }
        for part, options in wanted.items():
            for key, known in options.items():
                value = (getattr(self, part) or {}).get(key, known[0])
                if value not in known:
                    raise ValueError(f"config.json: {part}.{key} is {value!r}, and only {known} is supported")
        tower = self.vision_config
        if tower.image_size % (tower.patch_size * self.merge_size):
            raise ValueError(
                f"config.json: tiles of {tower.image_size} pixels hold no whole number of tokens of "
                f"{self.merge_size} x {self.merge_size} patches of {tower.patch_size} pixels"
            )
        if not 0 <= self.tower_depth <= tower.num_hidden_layers:
            raise ValueError(f"config.json: a tower of {tower.num_hidden_layers} layers lacks the one that is named")

    def convert_rope_params_to_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Name the published rope type, and what it leaves to be derived, as transformers does."""
        rope = dict(kwargs.get("rope_scaling") or self.rope_parameters or {})
        kind = rope.pop("type", None) or rope.get("rope_type", "default")
        if kind in _LONGROPE_NAMES:
            original = self.original_max_position_embeddings
            rope |= {"rope_type": "longrope", "original_max_position_embeddings": original}
            rope.setdefault("factor", self.max_position_embeddings / original)
        else:
            rope["rope_type"] = kind
        kwargs["rope_scaling"] = rope
        return super().convert_rope_params_to_dict(*args, **kwargs)

    def to_diff_dict(self) -> dict[str, Any]:
        """What config.json holds: the published form, so that other programs can read it too."""
        written: dict[str, Any] = super().to_diff_dict()
        rope = self.rope_parameters
        plain = {key: value for key, value in rope.items() if key not in _DERIVED_ROPE_KEYS}
        if rope["rope_type"] == "longrope" and plain.pop("partial_rotary_factor", 1.0) == 1.0:
            if rope["factor"] != self.max_position_embeddings / self.original_max_position_embeddings:
                plain["factor"] = rope["factor"]
            written.pop("rope_parameters", None)
            written["rope_theta"] = rope["rope_theta"]
            written["rope_scaling"] = {"type": "su", **plain}
        standard = Phi3VVisionConfig().to_dict()
        tower = {k: v for k, v in self.vision_config.to_dict().items() if k != "dtype" and standard.get(k) != v}
        written.pop("clip_config", None)
        if tower:
            written["clip_config"] = tower
        if "architectures" in written:
            written["architectures"] = [PUBLISHED_CLASS]
        return written

    @property
    def vision_config(self) -> Phi3VVisionConfig:
        """`clip_config` by its usual name, after it was read."""
        assert isinstance(self.clip_config, Phi3VVisionConfig)
        return self.clip_config

    @property
    def tower_depth(self) -> int:
        """Layers of the tower that are run: 23 of the published 24."""
        index = int((self.img_processor or {}).get("layer_idx", -2))
        return index if index >= 0 else int(self.vision_config.num_hidden_layers) + 1 + index

    @property
    def tile_tokens(self) -> int:
        """Tokens along a tile's side: 336 pixels are 24 patches, merged two by two to 12."""
        return int(self.vision_config.image_size // self.vision_config.patch_size // self.merge_size)
