"""The card of `id-ea`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="id-ea",
    title="ID-EA: Identity-driven text Enhancement and Adaptation with Textual Inversion",
    paper="ID-EA: Identity-driven Text Enhancement and Adaptation with Textual Inversion for Personalized "
    "Text-to-Image Generation (H.-J. Jin, Y.-E. Kim, S.-W. Lee, 2025)",
    arxiv="2507.11990",
    kind="fit",
    status="official",
    licence="Apache-2.0 (code of its own; the authors' is MIT)",
    needs=(
        "reference picture",
        "face embedding",
        "a list of celebrities (pocket: built in)",
        "a fit per identity",
    ),
    hooks=("text_keys_values", "insert_tokens"),
    summary=(
        "Two tokens start at the text encoder's answer to a mean celebrity name. The ID-Enhancer lets the "
        "face embedding attend to them, the ID-Adapter adds a gated self-attention over text and identity to "
        "the text features, and keys and values of cross-attention are tuned along; 320 steps. The public "
        "code contradicts this (it trains tokens and adapter only and applies the tokens alone): mode=paper, "
        "the default, applies all that is trained, which is our reconstruction; mode=release is the code."
    ),
    equations=(
        "E_0 = Text(BOS, c_1, c_2, EOS)[1:3]             c_i: mean i-th token of celebrity names\n"
        "E_f = W MHA(W_q a', W_kv E_0),   a' = W_a a      a: L2-normalised face embedding (ID-Enhancer)\n"
        "y' = y + beta tanh(gamma) MHA([y; W_f E_f])[:T]   y = Text(prompt(V)) (ID-Adapter)\n"
        "L = ||eps - eps_theta(z_t, t, y')||^2 + w mean_i sqrt(max(d_i^T Sigma^-1 d_i, 1e-8)),   d = V - E_0"
    ),
)
