"""The card of `pidiff`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="pidiff",
    title="PIDiff (reconstruction): image customization in the W+ space",
    paper=(
        "PIDiff: Image Customization for Personalized Identities with Diffusion Models "
        "(J. Gu, H. Liu, M. Wang, Y. Wang, 2025)"
    ),
    arxiv="2505.05081",
    kind="train",
    status="reconstruction",
    licence="Apache-2.0 (our own code; the paper has none, w-plus-adapter's is for research only)",
    needs=("face picture", "W+ encoder", "adapter weights"),
    hooks=("image_attention", "text_keys_values"),
    summary=(
        "A W+ encoder turns the aligned head into one style per layer, coarse to fine; every style becomes a "
        "token, and a gated residual cross-attention reads them with the text attention's output as its "
        "query. Trained in two stages, aligned faces, then pictures in the wild with the mask of the head. "
        "Only the paper's abstract is public: all of this is our reconstruction, over w-plus-adapter's "
        "published block. Fine rows can be swapped for another picture's (--style-from)."
    ),
    equations=(
        "f_r = LayerNorm(W_r w_r + e_r),   w = E(head) in R^{18 x d}\n"
        "h <- h_txt + alpha * Attn(W_q' h_txt, W_k' f, G (.) W_v' f),   G = 0 where training starts\n"
        "L = L_rec + l_loc mean((1 - M) |block|^2) + l_pre |(1 - M)(eps_w - eps_0)|^2   (second stage)"
    ),
)
