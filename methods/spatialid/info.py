"""The card of `spatialid`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="spatialid",
    title="SpatialID: Inject Where It Matters",
    paper="Inject Where It Matters (G. Li, M. Ye, 2026)",
    arxiv="2602.13994",
    kind="training-free",
    status="official",
    licence="Apache-2.0 (written from the published description; the authors' code names no licence)",
    needs=("face embedding", "adapter weights of its host: pulid on FLUX, uniform on U-Nets"),
    hooks=("image_attention|after_block", "text_keys_values|after_block"),
    summary=(
        "Multiplies the identity attention of its host by a spatial mask, made anew at every site and step: "
        "a centred Gaussian while the picture is noise, then the tokens that answer to the identity, then "
        "those over a floor. Official for FLUX, where the host is pulid. Reconstruction for U-Nets, where it "
        "is uniform: phases match by noise level and kernels scale with the token grid."
    ),
    equations=(
        "h <- h + alpha * M_t * W_o R,   R = Attn(Q, K_id, V_id),   m = minmax(||R_p||_2),   b = blur(m)\n"
        "M = clamp(.7 b + .3 dilate(1[b > mean b + .5 std b]), 0, 1)\n"
        "M_t = exp(-(x^2 + y^2) / (2 sigma_c^2)) / max   if t > .7;   M   if t > .3;   f + (1 - f) M   else\n"
        "t: the flow's own time on FLUX, sigma / (1 + sigma) on U-Nets"
    ),
    regions=True,
)
