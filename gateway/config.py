"""The settings of a node, as data: every field says what it is, with a default that works."""

from __future__ import annotations

import msgspec

from gateway.model.plan import Limits, Plan


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A mapping of routing.yaml; an unknown key is an error."""


class Listen(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to listen on."""

    host: str = "127.0.0.1"
    port: int = 8787


class Server(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the node makes use of its machine."""

    processes: int = 1
    """Processes that serve the tenants' port, one a core; what the node has is divided among them,
    tenants' limits hold for all of them together."""


class Http(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one client's connection may take of a listener."""

    connections: int = 8192
    """Connections open at once; beyond, the address with the most gives one up, or gets no more."""
    head_seconds: float = 15.0
    """How long the head of a request may take to arrive, from the connection's start or its own."""
    idle_seconds: float = 75.0
    """How long a connection is kept open between requests."""
    stall_seconds: float = 30.0
    """How long a client may send no byte of a body, or read none of an answer that waits for it."""
    proxy_protocol: bool = False
    """Connections of trusted proxies to the tenants' listener begin with a PROXY protocol header,
    version 1 or 2; those without one are refused."""


class WebSockets(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an open WebSocket may take; how many and how large messages, says the plan."""

    idle_seconds: float = 600.0
    """How long one is kept open without a message, or a ping of the client's."""
    ping_seconds: float = 30.0
    """How often the client is asked for a sign of life; it is gone after two without any."""


class Routing(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a hostname leads to a script."""

    base_domain: str = "localhost"
    """``{script}.{base_domain}`` reaches a script of the default namespace."""
    functions_domain: str = ""
    """``{functions_domain}/{customer}/{function}/…`` reaches ``customer-function``; empty: off."""
    reserved_labels: tuple[str, ...] = (
        "www",
        "admin",
        "api",
        "app",
        "static",
        "assets",
        "vercel",
        "mail",
        "ns1",
        "ns2",
        "waypost",
    )
    """Labels that never are a script below the base domain."""
    tenant_header: str = ""
    """Header that names the script (``X-Tenant-Id``), from trusted proxies only; empty: off."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) whose ``X-Forwarded-*`` and tenant header are believed."""
    cache_entries: int = 100_000
    """Routes kept in memory."""
    cache_seconds: float = 60.0
    """How long a route may be served from memory; changes made on this node act at once."""


class HostnameRules(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a tenant has to show before a custom hostname of its own choice leads to its script.

    The operator's routes need no proof, nor do a tenant's own below the base domain.
    """

    verification: str = "txt"
    """``txt`` (a TXT record), ``http`` (a file on the web server that the name leads to),
    ``operator`` (the operator approves each) or ``off`` (whoever comes first has it)."""
    resolver: str = ""
    """Name server that TXT records are asked of, ``192.0.2.1`` or ``192.0.2.1:53``; empty: the
    host's."""
    recheck_seconds: float = 300.0
    """How often the platform itself looks at hostnames that wait; 0: only when it is asked to."""


class Runtime(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What tenant code finds."""

    packages: tuple[str, ...] = ("fastapi", "starlette", "flask", "python-multipart")
    """Installed distributions tenants may import, with all they require. Missing ones are told."""
    startup_cpu_ms: int = 3000
    """CPU milliseconds to load a script."""
    startup_wall_ms: int = 10_000
    """Elapsed milliseconds to load a script."""
    compile_cpu_ms: int = 10_000
    """CPU milliseconds to compile a version, once, for its later instances; 0: none is."""


class SandboxConfig(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How strictly tenants are jailed."""

    minimum_level: str = "namespaces"
    """``full`` (namespaces, Landlock, seccomp), ``namespaces`` (namespaces, seccomp) or
    ``landlock`` (Landlock, seccomp; nothing can be written)."""
    cgroups: str = "auto"
    """``auto``, or ``required``: also refuse to start where none can be made."""
    zygote_rotation_seconds: int = 3600
    """How long instances come from one zygote, whose address layout and hash seed they share."""
    memory_mb: int = 0
    """What all instances may hold together, MiB; 0: three quarters of the machine's memory."""
    spares: int = 2
    """Processes of each plan's size that wait, jailed, for a script to serve; 0: none."""


class Egress(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where subrequests may go."""

    allow_private: bool = False
    """Also private, loopback and link-local addresses. Only for development."""
    allow: tuple[str, ...] = ()
    """Networks (CIDR) reachable although private."""
    own_hostnames: bool = True
    """Subrequests to workers below the base domain, and on the functions domain, stay inside."""
    timeout_seconds: float = 30.0
    """Longest wait for a byte of an answer."""


class Upload(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an upload may be."""

    max_mb: int = 64
    """Size of all modules together, MiB."""
    max_modules: int = 10_000
    """Number of files in a bundle."""
    javascript: str = "refuse"
    """What becomes of a script whose main module is JavaScript, which no node runs yet: ``refuse``,
    or ``store``, so that it is there and answers with an error."""


class Control(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the control API may be asked, in five minutes; 0: as often as one likes."""

    requests: int = 1200
    """Requests of one tenant's token."""
    operator_requests: int = 12_000
    """Requests of one of the operator's tokens."""
    failures: int = 300
    """Tokens that are nobody's, from one address."""


class AuditRules(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the audit log is kept."""

    keep_days: int = 0
    """Entries older than so many days are removed; 0: none ever is."""


class Rollback(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a new deployment is undone by the platform."""

    error_percent: float = 0.0
    """How many of a hundred requests more than before may fail; 0: nothing is undone."""
    requests: int = 20
    """Requests that a version must have had to be judged."""
    seconds: float = 300.0
    """How long after it was made a deployment is watched."""


class Secrets(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tenants' secrets are kept at rest."""

    key_file: str = "secrets.key"
    """The key's file, below the data directory unless absolute; made on the first start. The
    variable ``WAYPOST_SECRETS_KEY`` wins over it."""


class AccessLog(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One JSON line per request."""

    path: str = "access.log"
    """A file below the data directory, ``-`` for standard output, empty: off."""


DEFAULT_PLANS: dict[str, Limits] = {
    "enterprise": Limits(
        cpu_ms=50,
        subrequests=50,
        memory_mb=512,
        wall_ms=120_000,
        concurrency=100,
        body_mb=500,
        instances=16,
        websockets=2000,
        schedules=250,
        weight=4,
    ),
    "pro": Limits(
        cpu_ms=20,
        subrequests=20,
        memory_mb=256,
        wall_ms=60_000,
        concurrency=50,
        body_mb=100,
        instances=8,
        websockets=500,
        schedules=100,
        weight=2,
    ),
    "free": Limits(
        cpu_ms=10, subrequests=5, memory_mb=128, wall_ms=30_000, concurrency=20, body_mb=10
    ),
}


class Config(_Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node."""

    listen: Listen = Listen()
    """The tenants' traffic."""
    api: Listen = Listen(port=8788)
    """The control API, metrics and health; never reachable through the tenants' port."""
    data_dir: str = ".waypost"
    """State of this node: database, logs."""
    default_namespace: str = "production"
    """Dispatch namespace that hostnames lead to when they name none."""
    default_plan: str = "free"
    """Plan of new tenants, and of tenants whose plan is unknown."""
    plans: dict[str, Limits] = msgspec.field(default_factory=DEFAULT_PLANS.copy)
    """What each plan allows."""
    queue_seconds: float = 5.0
    """How long a request may wait for its turn before it is shed."""
    server: Server = Server()
    http: Http = Http()
    """Bounds on clients' connections, of both listeners."""
    websocket: WebSockets = WebSockets()
    routing: Routing = Routing()
    hostnames: HostnameRules = HostnameRules()
    runtime: Runtime = Runtime()
    sandbox: SandboxConfig = SandboxConfig()
    egress: Egress = Egress()
    upload: Upload = Upload()
    control: Control = Control()
    audit: AuditRules = AuditRules()
    rollback: Rollback = Rollback()
    secrets: Secrets = Secrets()
    access_log: AccessLog = AccessLog()
    insecure_no_sandbox: bool = False
    """Development only; set by ``--insecure-no-sandbox``."""

    def plan(self, name: str | None) -> Plan:
        """The plan of that name; the default plan when there is none."""
        if name is not None and name in self.plans:
            return Plan(name, self.plans[name])
        return Plan(self.default_plan, self.plans[self.default_plan])
