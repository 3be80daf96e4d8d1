"""Drawing of the parts of a portrait, one module per part, on a skia canvas in picture units of 128."""
