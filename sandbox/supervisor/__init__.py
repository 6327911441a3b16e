"""Making instances: the gateway's half and the zygote's half.

Theory of operation. The gateway starts one zygote by exec, with an empty environment and before it
has read a secret. The zygote leaves the host's namespaces, builds the minimal root, loads and warms
the frameworks, and then forks one child per order. A child closes its jail (:mod:`.spawn`), says
HELLO on the wire and waits for code. The gateway looks at the child from outside (:mod:`.verify`)
before it sends any.

Process tree::

    gateway ── keeper ── zygote (pid 1 of the outer pid namespace)
                           └── instances (each pid 1 of its own)

The kernel ties the lives together: the keeper dies with the gateway, the zygote with the keeper or
when the control socket closes, and a pid namespace with its pid 1. Nobody has to clean up.

Gateway's half: :mod:`.supervisor`, :mod:`.control`, :mod:`.instance`, :mod:`.cpuclock`,
:mod:`.verify`, :mod:`.runtime_files`. Zygote's half: :mod:`.zygote`, :mod:`.forkserver`,
:mod:`.outer`, :mod:`.spawn`, :mod:`.probes`, :mod:`.packing`, :mod:`.scout`,
:mod:`.reaper`. Between them: :mod:`.messages`.
"""
