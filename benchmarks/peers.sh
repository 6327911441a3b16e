#!/usr/bin/env bash
# Installs what `python -m benchmarks` compares with: nginx (apt, as root), workerd (npm), uWSGI (PyPI).
# They go below BENCHMARK_PEERS (default: .waypost/peers). What cannot be installed is skipped, by name.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

peers=${BENCHMARK_PEERS:-.waypost/peers}
mkdir -p "$peers"
missing=()

if ! PATH=$PATH:/usr/sbin command -v nginx >/dev/null; then
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y nginx-light; } || missing+=(nginx)
fi
npm install --no-audit --no-fund --prefix "$peers" workerd || missing+=(workerd)
{ "${PYTHON:-python3}" -m venv "$peers/venv" && "$peers/venv/bin/pip" install -q uwsgi; } || missing+=(uwsgi)

if ((${#missing[@]})); then
  echo "not installed: ${missing[*]}" >&2
  exit 1
fi
