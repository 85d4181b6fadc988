"""The Triton kernels, imported as `arasfsr.kernels`; nothing here is imported before a kernel is asked for.

`forward`, `backward` and `weight_gradient` each hold one kernel; `geometry`, `layers` and `numerics` the device
functions that they share; `configs` the one table of cuts. `docs/kernels.md` says why they are as they are.
"""
