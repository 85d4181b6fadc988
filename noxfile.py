"""Run the tests under several versions of Python, torch and Triton, each in its own environment, without a GPU.

`nox` tries all of them, `nox -p 3.12` those with that Python, `nox -p 3.12 -- torch==2.11.0 triton==3.6.0` other
requirements. Each session writes a row to benchmarks/results/versions.json, from which `python -m benchmarks report`
makes docs/versions.md.
"""

from pathlib import Path

import nox

VERSIONS = {
    "3.10": ["torch==2.10.0", "triton==3.6.0"],
    "3.11": ["torch==2.9.1", "triton==3.5.1"],
    "3.12": ["torch==2.11.0", "triton==3.6.0"],
    "3.13": ["torch==2.12.0", "triton==3.7.0"],
}

GROUPS = {
    "operator": (
        *(f"query/test_{name}.py" for name in ("query", "skip", "golden", "dispatch")),
        "checkpoints/test_checkpoint.py",
        "commands/test_upscale_command.py",
        "commands/test_upscale_report.py",
    ),
    "training": ("training",),
    "interpreter": ("query/test_interpreter.py",),
    "audit": ("native/test_audit.py",),
}
"""Files and folders of tests/ in each group: the operator and everything built on it; training; the Triton kernels in
Triton's interpreter; the same kernels compiled ahead of time for each architecture."""


@nox.session(venv_backend="venv")
@nox.parametrize(("python", "requirements"), VERSIONS.items(), ids=VERSIONS)
def versions(session: nox.Session, requirements: list[str]) -> None:
    session.install(*(session.posargs or requirements), "-e", ".[dev]", env={"ARASFSR_CUDA": "0"})
    folder = session.create_tmp()
    for old in Path(folder).glob("*.xml"):
        old.unlink()
    for group, paths in GROUPS.items():
        tests = (f"tests/{path}" for path in paths)
        session.run("pytest", f"--junit-xml={folder}/{group}.xml", *tests, success_codes=range(6))
    session.run("python", "-m", "tools.versions", folder, *GROUPS)
