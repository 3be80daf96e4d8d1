"""w-plus-adapter's public checkpoints as a place to start from.

    w_proj.proj_{0..3}.weight [C, n dim], w_proj.norm.{weight,bias}    rows 0-3, 4-7, 8-11, 12-17 -> 4 tokens
    wplus_adapter.{i}.to_{q,k,v}_wplus.weight                          as ours, at odd i (attn2)

(Li et al., "When StyleGAN Meets Stable Diffusion: a W+ Adapter for Personalized Image Generation", CVPR 2024;
names and shapes only, no line of its code.) Its one token of a group is the sum over the group's rows of what
our per-row projection gives, W_g [w_a; ...; w_b] = sum_r W_r w_r, so that the columns of W_g that row r meets
become W_r. It knows no gate: ours open. Codes are centred here and were not there: the level embedding starts
as W_r wbar_r, which undoes the centring.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from methods.adapters import OTHER_BACKBONE, check_text_width
from methods.errors import WeightsError
from methods.pidiff.adapter import StyleAdapter
from methods.weights import check_state

GROUPS = ((0, 4), (4, 8), (8, 12), (12, 18))


def is_wplus_checkpoint(state: Mapping[str, Tensor]) -> bool:
    """Whether a flat state dict is w-plus-adapter's."""
    return "w_proj.proj_0.weight" in state


@torch.no_grad()
def initialise_from_wplus(
    adapter: StyleAdapter, state: Mapping[str, Tensor], average: Tensor, source: str
) -> None:
    """Overwrite a fresh adapter with a w-plus-adapter checkpoint, gates opened.

    average: the style space's average code [18, dim]. Raises WeightsError for shapes of another backbone.
    """
    if adapter.rows != GROUPS[-1][1]:
        raise WeightsError(
            f"{source} reads 18 rows of W+, this style encoder has {adapter.rows}.",
            hint="Give the style encoder it was trained with: e4e.",
        )
    width, dim = adapter.w_proj.norm.weight.shape[0], adapter.dim
    found = state["w_proj.norm.weight"].shape[0] if "w_proj.norm.weight" in state else width
    check_text_width(found, width, source, hint="w-plus-adapter's weights are for Stable Diffusion 1.5.")
    expected = {
        f"w_proj.proj_{group}.weight": torch.empty(width, (stop - start) * dim, device="meta")
        for group, (start, stop) in enumerate(GROUPS)
    }
    own = adapter.state_dict()
    expected |= {name: own[name] for name in own if name.startswith("w_proj.norm.")}
    expected |= {name: own[name] for name in own if name.endswith("_wplus.weight")}
    check_state(state, expected, source, hint=OTHER_BACKBONE)
    for group, (start, stop) in enumerate(GROUPS):
        joint = state[f"w_proj.proj_{group}.weight"].float().unflatten(1, (stop - start, dim))
        adapter.w_proj.weight[start:stop] = joint.transpose(0, 1)
    adapter.w_proj.level.copy_(
        torch.einsum("rd,rcd->rc", average.to(own["w_proj.weight"]), adapter.w_proj.weight)
    )
    rest = {name: value for name, value in state.items() if not name.startswith("w_proj.proj_")}
    adapter.load_state_dict(rest, strict=False)
    for block in adapter.blocks():
        block.gate.fill_(1.0)
