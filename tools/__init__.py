"""Tools for developers; none of this is in the wheel.

kernels/ compiles, audits, probes and tunes the kernels; gpu/ is the run on a GPU. report.py writes the README's tables
and the pages in docs from committed results, quality.py compares methods, versions.py records what nox tried.
build_emulated.py, check_wheel.py and setup_env.sh serve the build; layers.py draws and checks the package's layers;
figures.py makes the pictures of docs/images, notebook.py runs the notebook of examples/, make_sample.py made the sample
face.
"""
