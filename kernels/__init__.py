"""The Triton kernels, imported as `arasfsr.kernels` when the first of them is needed.

`forward`, `backward` and `weight_gradient` hold one kernel each; `activation`, `geometry`, `layers` and `numerics` the
device functions that they share; `configs` the block sizes and launch options. `docs/kernels.md` explains the design.
"""
