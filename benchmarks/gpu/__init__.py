"""`python -m benchmarks.gpu`: what minutes on a CUDA machine can tell, in the order of how much each thing tells.

plan.py is the table of steps; supervisor.py runs it and never touches CUDA itself; worker.py is the process that does,
one a contestant, started again where it hangs or dies; probes.py says whether a kernel is right; variants.py lists the
Triton kernels that all of this asks for, and ahead.py compiles them before. folders.py knows what lies in a run's
folder, summary.py makes the page that comes out; adopt.py, publish.py and history.py take it further. pack.py makes,
on another machine, what such a machine lacks; build.py builds the extension where the packed one is of no use.
"""
