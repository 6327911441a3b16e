"""The control API: Cloudflare's paths for scripts, our own for tenants, routes and tails."""

from __future__ import annotations

from gateway.api.app import create_api
from gateway.api.services import Services, TailSource, TailSubscription

__all__ = ["Services", "TailSource", "TailSubscription", "create_api"]
