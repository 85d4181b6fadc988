# shellcheck shell=bash
# Sourced, not run: makes a virtual environment that holds the project, for try.sh, test.sh and .ci/run.

TORCH="torch==2.13.0"

# setup_env FOLDER [EXTRAS]: a virtual environment in FOLDER with torch and this checkout, editable, with its optional
# dependencies EXTRAS (such as "dev"). Where that is already so, it returns at once. PYTHON names the interpreter.
setup_env() {
    local folder=$1 extras=${2:-} python=${PYTHON:-python3}
    local root stamp wanted
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    stamp=$folder/installed-${extras:-plain}
    wanted="$TORCH $root $(cat "$root/pyproject.toml" "$root/setup.py" | cksum)"
    if [[ -f $stamp && $(<"$stamp") == "$wanted" ]]; then
        return
    fi
    if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; then
        echo "$python is $("$python" --version 2>&1); needed is Python 3.10 to 3.13, which PYTHON=... may name" >&2
        return 1
    fi
    if [[ -f $folder/installed-plain ]]; then
        echo "bringing $folder up to date${extras:+ with the extra $extras}" >&2
    else
        echo "setting up $folder: this takes some minutes and downloads torch (on Linux with CUDA, some GB)" >&2
    fi
    "$python" -m venv "$folder"
    (
        if [[ -t 2 ]]; then # a dot every few seconds, to be seen working
            while sleep 5; do printf . >&2; done &
            trap 'kill $!; echo >&2' EXIT
        fi
        # without the extension unless asked for: no backend that is chosen automatically needs it yet
        export ARASFSR_CUDA=${ARASFSR_CUDA:-0}
        "$folder/bin/python" -m pip install -qq --disable-pip-version-check "$TORCH" -e "$root${extras:+[$extras]}"
    )
    echo "$wanted" | tee "$folder/installed-plain" > "$stamp" # with extras, it also serves without them
}
