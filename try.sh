#!/usr/bin/env bash
# Sets everything up on a fresh machine and upscales the packaged sample face eightfold.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source tools/setup_env.sh

setup_env .venv
.venv/bin/arasfsr upscale arasfsr/assets/sample.png --scale 8 -o sample_x8.png
echo "the sample face, 64 x 64 (arasfsr/assets/sample.png), is now 512 x 512: $PWD/sample_x8.png"
echo "next: source .venv/bin/activate, then arasfsr upscale YOUR_PICTURE.png"
