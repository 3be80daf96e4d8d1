"""The card of `pulid`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="pulid",
    title="PuLID: Pure and Lightning ID Customization via Contrastive Alignment",
    paper="PuLID (Z. Guo et al., NeurIPS 2024); PuLID-FLUX 0.9.1",
    arxiv="2404.16022",
    kind="train",
    status="official",
    licence="code Apache-2.0; public weights follow FLUX.1-dev's licence (non-commercial)",
    needs=("face embedding", "reference picture", "image tower (EVA02-CLIP-L-336)"),
    hooks=("after_block",),
    summary=(
        "An identity encoder turns the face embedding and five depths of an image tower into 32 tokens; "
        "twenty cross-attentions between FLUX's blocks let the image tokens read them. The public files "
        "load as they are. Official for the network and its use; the training is ours."
    ),
    equations=(
        "z = IDFormer([e_face ; v / ||v||], h_1 .. h_5) in R^{32 x 2048}\n"
        "h <- h + alpha * CA_n(z, h),   after double blocks 0, 2, ..., 18 and single blocks 0, 4, ..., 36\n"
        "CA(z, h) = W_o softmax((s W_q LN h)(s W_k LN z)^T) W_v LN z,   s = d^(-1/4)"
    ),
    regions=True,
)
