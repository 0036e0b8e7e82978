#!/usr/bin/env bash
# Prints the path of a Python that has PyTorch: the one named in PEER_PYTHON, else one in a virtual environment of its
# own (PEER_VENV, build/peer-venv) that is made on the first call, from PyPI (some gigabytes). Remarks go to stderr.
set -eu
cd "$(dirname "$0")/../.."
if [ -n "${PEER_PYTHON:-}" ]; then
    "$PEER_PYTHON" -c 'import torch' || { echo "peer: PEER_PYTHON=$PEER_PYTHON has no PyTorch" >&2; exit 1; }
    echo "$PEER_PYTHON"
    exit 0
fi
venv=${PEER_VENV:-build/peer-venv}
if ! [ -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    scripts/deps.sh peer >&2
    echo "peer: installing PyTorch from PyPI into $venv" >&2
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet -r bench/peer/requirements.txt >&2
fi
# Its absence is no error: every figure says which allocator it was taken with.
scripts/deps.sh tcmalloc >&2 || echo "peer: without tcmalloc PyTorch's memory will look worse than it need be" >&2
echo "$PWD/$venv/bin/python"
