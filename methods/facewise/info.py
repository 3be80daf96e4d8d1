"""The card of `facewise`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="facewise",
    title="SeFi-IDE: face-wise attention loss and per-stage key and value tokens",
    paper="Beyond Inserting: Learning Identity Embedding for Semantic-Fidelity Personalized Diffusion "
    "Generation (Y. Li, S. Yang, W. Wang, J. Dong, 2024)",
    arxiv="2402.00631",
    kind="fit",
    status="reconstruction",
    licence="Apache-2.0 (written from the project page; no code of the method is public)",
    needs=("reference picture", "a fit per identity"),
    hooks=("image_attention", "text_keys_values", "insert_tokens"),
    summary=(
        "From the word 'person' a generator makes five pairs of tokens, one for each stage of the denoising: "
        "one token for the keys of cross-attention (where to look), one for its values (what to draw). "
        "Fitted to one photograph with a loss that keeps the attention map of every token where it is under "
        "the plain word. Mechanism and lambda are found in the project page's figures; generator, reduction "
        "of the loss, rates and steps are our reconstruction."
    ),
    equations=(
        "P_i^K, P_i^V = v_person + G(v_person)_i,   i = 1..5,   s(t) = min(4, floor(5 t / 1000))\n"
        "K_t = W_K Text(P_s^K),   V_t = W_V Text(P_s^V),   K_r = W_K Text(person)\n"
        "A_t = softmax(Q K_t^T / sqrt(d)),   A_r = softmax(Q K_r^T / sqrt(d))\n"
        "L = ||eps - eps_theta(z_t, t, {K_t, V_t})||^2 + lambda * sum_k (A_t - A_r)^2,   lambda = .003"
    ),
)
