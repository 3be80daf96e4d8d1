"""The card of `infinite-id`."""

from __future__ import annotations

from methods.contract import MethodInfo

INFO = MethodInfo(
    name="infinite-id",
    title="Infinite-ID: ID-semantics decoupling",
    paper="Infinite-ID: Identity-preserved Personalization via ID-semantics Decoupling Paradigm (Wu et al.)",
    arxiv="2403.11781",
    kind="train",
    status="second-hand",
    licence="Apache-2.0 (written from figures and readers' notes; no code was published)",
    needs=("face embedding", "aligned face", "CLIP image encoder", "adapter weights of its own"),
    hooks=("image_attention", "text_keys_values", "keys_values"),
    summary=(
        "Two streams are denoised side by side. The text stream is the plain backbone. The identity stream "
        "adds an attention over identity tokens to the text's in every cross-attention, and in every "
        "self-attention reads the text stream's keys and values beside its own. The tokens come from CLIP "
        "states of the aligned face and its embedding; they are learned with the text switched off. The "
        "equations are second-hand; mapper shapes, drop rates and guidance are our reconstruction."
    ),
    equations=(
        "c_id = [M_clip(E_clip(FA(x))); M_face(E_face(FA(x)))]\n"
        "training:        h = Attn(Q, c_id W_k', c_id W_v'),   L = E || eps - eps(z_t, t, c_id) ||^2\n"
        "cross-attention: h = Attn(Q, K_text, V_text) + alpha * Attn(Q, c_id W_k', c_id W_v')\n"
        "self-attention:  h = Attn(Q_id, [A(K_id, K_t); K_t], [A(V_id, V_t); V_t]),   "
        "A(x, y) = x - mu(x) + mu(y)"
    ),
)
