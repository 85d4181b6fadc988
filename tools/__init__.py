"""Tools for developers: builds, checks, the compiled kernels, the run on a GPU, scores. Not in the wheel."""
