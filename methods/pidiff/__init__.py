"""PIDiff (reconstruction): identity through the W+ style space, in a gated residual cross-attention."""
