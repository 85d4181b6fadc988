"""Compiled kernels: which there are, compiling them ahead of time, and what the compilers made of them.

variants.py compiles one Triton kernel; listed.py lists those that a GPU run asks for, and those that are audited.
`ahead` compiles the first, `audit` reports registers, spills and instructions of the second. `build` builds the CUDA
extension for the GPU at hand; `pack` prepares a folder for a machine without nvcc and network. `stalls` reads ncu's
profiles.
"""
