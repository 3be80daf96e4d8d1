"""The card of `uniform`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="uniform",
    title="Uniform identity cross-attention (IP-Adapter FaceID)",
    paper="IP-Adapter: Text Compatible Image Prompt Adapter for Text-to-Image Diffusion Models (FaceID)",
    arxiv="2308.06721",
    kind="train",
    status="official",
    licence="Apache-2.0 (code); public FaceID checkpoints are for research only",
    needs=("face embedding", "adapter weights"),
    hooks=("image_attention",),
    summary=(
        "Projects a face embedding to a few identity tokens and adds, in every cross-attention layer and at "
        "every image token alike, an attention over them to the attention over the text."
    ),
    equations="h <- h + alpha * Attn(Q, Z W_k', Z W_v'),   Z = LayerNorm(MLP(e)) in R^{4 x C}",
    regions=True,
)
