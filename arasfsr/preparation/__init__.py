"""Preparation: faces found in photographs and aligned, for training and testing."""
