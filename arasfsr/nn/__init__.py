"""The model's parts, which know nothing of queries: encoders, local frequency estimation, decoders."""
