"""PuLID-FLUX (arXiv 2404.16022): identity tokens in cross-attentions between FLUX's blocks."""
