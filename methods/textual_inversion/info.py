"""The card of `textual-inversion`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="textual-inversion",
    title="Textual Inversion",
    paper="An Image is Worth One Word (R. Gal et al., 2022)",
    arxiv="2208.01618",
    kind="fit",
    status="official",
    licence="Apache-2.0 (code of its own)",
    needs=("reference picture", "a fit per identity"),
    hooks=("insert_tokens",),
    summary=(
        "Learns the token embedding of one word by denoising the reference photograph; everything else is "
        "frozen. The baseline that facewise and id-ea are judged against. Option init=celebrity starts two "
        "rows where Cross Initialization (arXiv 2312.15905) does: at the text encoder's output for a mean "
        "celebrity name."
    ),
    equations=(
        "v* = argmin_v E ||eps - eps_theta(z_t, t, Text(y(v)))||^2\n"
        "init = celebrity:  v_0 = Text(BOS, c_1, c_2, EOS)[1:3],   + w ||v - v_0||^2"
    ),
)
