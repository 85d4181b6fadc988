"""The model's modules: encoders, local frequency estimation, decoders. Nothing here depends on `query`."""
