"""Tools for developers: builds, checks, the compiled kernels, the run on a GPU, other versions. Not in the wheel."""
