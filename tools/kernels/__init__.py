"""The kernels: which there are, compiling them ahead of time, what the compilers make of them, whether they are right.

variants.py compiles one Triton kernel; listed.py lists those that a GPU run asks for, and those that are audited.
`ahead` compiles the first, `audit` reports registers, spills and instructions of the second. `probes` judges kernels
on a GPU, `tune` chooses their tiles by measurement, `stalls` reads ncu's profiles. `build` builds the CUDA extension
for the GPU at hand; `pack` prepares a folder for a machine without nvcc and network.
"""
