"""Home of the Triton kernels, imported as `arasfsr.kernels`; nothing here is imported before a kernel is asked for."""
