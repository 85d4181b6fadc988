"""Tools for developers; none of this is in the wheel.

kernels/ compiles, audits, probes and tunes the kernels; gpu/ is the run on a GPU. report.py writes pages, tables and
plots from committed results: machines.py has speed and memory, quality.py the scores (and measures those of the paper's
methods), versions.py what nox tried. build_emulated.py, check_wheel.py and setup_env.sh serve the build; layers.py
draws and checks the package's layers; docs_site.py and docs_markdown.py are the hooks of the documentation's site.
figures.py makes the pictures of docs/images, notebook.py runs the notebook of examples/, make_sample.py made the sample
face.
"""
