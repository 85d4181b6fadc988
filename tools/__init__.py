"""Tools for developers; none of this is in the wheel.

kernels/ compiles, audits, probes and tunes the kernels; gpu/ is the run on a GPU. report.py writes pages, tables and
plots from committed results: machines.py has speed and memory, quality.py the scores (and measures those of the paper's
methods), versions.py what nox tried. build_emulated.py, check_wheel.py and setup_env.sh serve the build; layers.py
draws and checks the package's layers; make_picture.py and make_sample.py made the pictures.
"""
