"""The style space W+ of faces: an encoder, and for the pocket world a decoder that makes its rows visible.

`align` cuts out the head as FFHQ does, `encoder` is the feature pyramid of encoder4editing in its public
layout, `decoder` a small StyleGAN2 synthesis network, `load` finds the weights of either.
"""
