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
    needs=("face embedding", "adapter weights of uniform"),
    summary=(
        "Multiplies the identity attention of uniform by a spatial mask, made anew at every site and step: "
        "a centred Gaussian while the picture is noise, then the tokens that answer to the identity, then "
        "those over a floor. Official for FLUX with PuLID; on U-Nets phases match by noise level and kernels "
        "scale with the token grid, which is our reconstruction."
    ),
    equations=(
        "h <- h + alpha * M_t * R,   R = Attn(Q, Z W_k', Z W_v'),   m = minmax(||R_p||_2),   b = blur(m)\n"
        "M = clamp(.7 b + .3 dilate(1[b > mean b + .5 std b]), 0, 1)\n"
        "M_t = exp(-(x^2 + y^2) / (2 sigma_c^2)) / max   if t > .7;   M   if t > .3;   f + (1 - f) M   else\n"
        "t = sigma / (1 + sigma)"
    ),
)
