"""Encoders in the authors' implementations (LIIF and its successors): configurations and parameter names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from arasfsr.config import Encoder, EncoderConfig, RCANConfig, RDNConfig, SwinIRConfig

Tensors = Mapping[str, Tensor]
"""An encoder's tensors by the authors' names, without the prefix `encoder.`"""

_NAMES = (
    # EDSR and RCAN
    (r"^head\.0\.", "head."),
    (r"^(body\.\d+\.body\.\d+\.body\.3)\.conv_du\.", r"\1.factors."),
    # RDN
    (r"^SFENet1\.", "first."),
    (r"^SFENet2\.", "second."),
    (r"^RDBs\.(\d+)\.convs\.(\d+)\.conv\.0\.", r"blocks.\1.layers.\2."),
    (r"^RDBs\.(\d+)\.LFF\.", r"blocks.\1.fusion."),
    (r"^GFF\.", "fusion."),
    # SwinIR
    (r"^norm\.", "last_norm."),
    (r"^conv_first\.", "first."),
    (r"^patch_embed\.norm\.", "first_norm."),
    (r"^conv_after_body\.", "after_groups."),
    (r"^conv_before_upsample\.0\.", "last."),
    (r"^layers\.(\d+)\.conv\.", r"groups.\1.conv."),
    (r"^layers\.(\d+)\.residual_group\.blocks\.(\d+)\.", r"groups.\1.blocks.\2."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".mlp_norm."),
    (r"\.attn\.relative_position_bias_table$", ".attention.bias_table"),
    (r"\.attn\.proj\.", ".attention.output."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)
"""The authors' names and this package's. Names shared by several encoders mean the same in each."""

_UNUSED = re.compile(r"^(sub_mean|add_mean)\.|\.attn_mask$|\.relative_position_index$")
"""The mean shift, which the authors' implementations store but never apply, and SwinIR's derived buffers."""


def rename(key: str) -> str | None:
    """A tensor's name in `arasfsr.nn.encoders`, None if it is not used there."""
    if _UNUSED.search(key):
        return None
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _count(tensors: Tensors, pattern: str) -> int:
    """Number of distinct values of the pattern's first group."""
    return len({match[1] for match in map(re.compile(pattern).match, tensors) if match})


def _edsr(residual_scale: float) -> Callable[[Mapping[str, Any], Tensors], Encoder]:
    def read(args: Mapping[str, Any], tensors: Tensors) -> Encoder:
        return EncoderConfig(
            blocks=_count(tensors, r"body\.(\d+)\.body\."),
            features=tensors["head.0.weight"].shape[0],
            residual_scale=args.get("res_scale", residual_scale),
        )

    return read


def _rdn(args: Mapping[str, Any], tensors: Tensors) -> Encoder:
    return RDNConfig(
        blocks=_count(tensors, r"RDBs\.(\d+)\."),
        layers=_count(tensors, r"RDBs\.0\.convs\.(\d+)\."),
        growth=tensors["RDBs.0.convs.0.conv.0.weight"].shape[0],
        features=tensors["SFENet1.weight"].shape[0],
    )


def _rcan(args: Mapping[str, Any], tensors: Tensors) -> Encoder:
    features, reduction = tensors["head.0.weight"].shape[0], args.get("reduction", 16)
    squeezed = tensors.get("body.0.body.0.body.3.conv_du.0.weight")
    if squeezed is not None and squeezed.shape[0] != features // reduction:
        raise ValueError(f"reduction is {reduction}, the attention's bottleneck {squeezed.shape[0]} of {features}")
    return RCANConfig(
        groups=_count(tensors, r"body\.(\d+)\.body\."),
        blocks=_count(tensors, r"body\.0\.body\.(\d+)\.body\."),
        features=features,
        reduction=reduction,
    )


def _swinir(args: Mapping[str, Any], tensors: Tensors) -> Encoder:
    groups = _count(tensors, r"layers\.(\d+)\.")
    first = "layers.0.residual_group.blocks.0"
    positions, heads = tensors[f"{first}.attn.relative_position_bias_table"].shape
    width = tensors["conv_first.weight"].shape[0]
    return SwinIRConfig(
        depths=tuple(_count(tensors, rf"layers\.{i}\.residual_group\.blocks\.(\d+)\.") for i in range(groups)),
        width=width,
        heads=heads,
        window=(round(positions**0.5) + 1) // 2,
        mlp_ratio=tensors[f"{first}.mlp.fc1.weight"].shape[0] / width,
        features=tensors["conv_before_upsample.0.weight"].shape[0],
    )


READERS: dict[str, Callable[[Mapping[str, Any], Tensors], Encoder]] = {
    "edsr-baseline": _edsr(1.0),
    "edsr": _edsr(0.1),
    "rdn": _rdn,
    "rcan": _rcan,
    "swinir": _swinir,
}
"""By the authors' name, the function that derives a configuration; `_edsr` takes the default residual scale."""
