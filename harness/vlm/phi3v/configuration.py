"""Phi3VConfig: the published config.json of Phi-3-vision, read as it is.

Enters: config.json with model_type phi3_v (its auto_map is left unread). Leaves: a Phi3Config with the vision settings
beside it. Two keys of the published file need care: rope type "su" is transformers' "longrope", whose dictionary must
also name original_max_position_embeddings; and "_attn_implementation" would demand flash-attention of everyone.
"""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import CLIPVisionConfig, Phi3Config

#: CLIP ViT-L/14-336, which the published model code has built in
CLIP_VIT_L_14_336: dict[str, Any] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_channels": 3,
    "image_size": 336,
    "patch_size": 14,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "projection_dim": 768,
    "attention_dropout": 0.0,
}


@strict
class Phi3VConfig(Phi3Config):  # type: ignore[misc]  # transformers is untyped
    """Configuration of Phi-3-vision and Phi-3.5-vision.

    Beside Phi3Config's: `embd_layer` and `img_processor` as published (`embd_layer["hd_transform_order"]` is "sub_glb"
    or "glb_sub"), and `clip_config`, a CLIPVisionConfig as a dictionary, where the tower is not CLIP ViT-L/14-336. Text
    stays at the top level, so that Phi3Config's every user finds it.
    """

    model_type = "phi3_v"

    embd_layer: dict[str, Any] | None = None
    img_processor: dict[str, Any] | None = None
    clip_config: dict[str, Any] | None = None

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build from the content of a config.json, without the keys that only the remote code needed."""
        own = {key: value for key, value in config_dict.items() if key not in ("auto_map", "_attn_implementation")}
        return super().from_dict(own, **kwargs)

    def convert_rope_params_to_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Name the published rope type as transformers does."""
        scaling = kwargs.get("rope_scaling") or self.rope_parameters
        if isinstance(scaling, dict):
            scaling = dict(scaling)
            kind = scaling.pop("type", None)
            scaling["rope_type"] = "longrope" if kind == "su" else scaling.get("rope_type", kind or "default")
            if scaling["rope_type"] == "longrope":
                scaling.setdefault("original_max_position_embeddings", self.original_max_position_embeddings)
            kwargs["rope_scaling"] = scaling
        return super().convert_rope_params_to_dict(*args, **kwargs)

    def vision_config(self) -> CLIPVisionConfig:
        """The tower's configuration."""
        return CLIPVisionConfig(**{**CLIP_VIT_L_14_336, **(self.clip_config or {})})

    @property
    def tile_tokens(self) -> int:
        """Tokens along a tile's side: 336 px are 24 patches, merged two by two to 12."""
        vision = self.vision_config()
        return int(vision.image_size) // int(vision.patch_size) // 2
