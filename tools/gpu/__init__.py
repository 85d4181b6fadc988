"""`python -m tools.gpu`: what minutes on a CUDA machine can tell, the most important first.

plan.py is the table of steps; supervisor.py runs it without touching CUDA; worker.py is the process that does, one per
contestant, started again if it hangs or dies. files.py is a run's folder, summary.py the page that comes out of it;
publish.py and history.py take committed runs into the tables. tools/kernels has what compiles kernels and judges them.
"""
