"""Training: configuration, samples, loop."""
