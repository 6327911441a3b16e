"""The program that the gateway executes: ``python -I -S zygote.py <control descriptor>``.

It knows nothing until the first packet tells it where to import from, so it uses the standard
library only, and it takes nothing from arguments or environment, which tenants could find in
memory.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import types

MAX_PACKET = 1 << 18


def main() -> None:
    """Read the configuration, make the package importable without its gateway half, and serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    packet = control.recv(MAX_PACKET)
    if not packet:
        return
    interpreter_path = [path for path in sys.path if os.path.exists(path)]
    config = json.loads(packet)
    sys.path[:] = [*interpreter_path, *config["import_path"]]
    # A bare package: its __init__ is the gateway's façade, no business of tenant code.
    package = types.ModuleType("sandbox")
    package.__path__ = [config["sandbox_dir"]]
    sys.modules["sandbox"] = package
    forkserver = importlib.import_module("sandbox.supervisor.forkserver")
    forkserver.serve(control, packet, interpreter_path)


if __name__ == "__main__":
    main()
