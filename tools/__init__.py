"""Tools for developers: builds, checks, and the compiled kernels. None of this is in the wheel."""
