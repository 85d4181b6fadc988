"""Evaluation: models against bicubic on a folder of images, for the paper's suites of size pairs or for others."""
