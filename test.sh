#!/usr/bin/env bash
# Sets everything up on a fresh machine and passes all tests but the slow ones; arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup_env.sh

setup_env .venv dev
echo 'leaving out the tests marked slow (-m "not slow"); .venv/bin/python -m pytest runs all'
OMP_NUM_THREADS=1 .venv/bin/python -m pytest --numprocesses 2 --dist loadfile -m "not slow" "$@"
