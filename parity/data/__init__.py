"""Where images come from: folder layout, canonical decoding, the prepared cache, and the synthetic set."""
