"""`python -m benchmarks.gpu`: what minutes on a CUDA machine can tell, in the order of how much each thing tells.

plan.py is the table of steps; supervisor.py runs it and never touches CUDA itself; worker.py is the process that does,
one a contestant, started again where it hangs or dies; probes.py says whether a kernel is right; summary.py is the page
that comes out. pack.py makes, on another machine, what such a machine lacks; build.py builds the extension where the
packed one is of no use.
"""
