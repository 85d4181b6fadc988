"""Which packages and files the distribution holds; everything else about it stands in pyproject.toml."""

from setuptools import find_packages, setup

KERNELS = "arasfsr.kernels"

setup(
    packages=[
        *find_packages(include=["arasfsr", "arasfsr.*"]),
        KERNELS,
        *(f"{KERNELS}.{name}" for name in find_packages("kernels")),
    ],
    package_dir={KERNELS: "kernels"},  # at top level, "kernels" is the name of a package on PyPI
    include_package_data=False,
    package_data={"arasfsr": ["py.typed", "assets/*", "weights/*.safetensors"], KERNELS: ["*.json"]},
)
