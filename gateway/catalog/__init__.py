"""What can be done with namespaces, scripts and hostnames, whoever asks: API, CLI, dashboard."""

from __future__ import annotations

from gateway.catalog.bulk import BulkRoutes, BulkStored
from gateway.catalog.deploys import Deploys
from gateway.catalog.hostnames import Hostnames, RoutedHostname
from gateway.catalog.launcher import Candidate, Launcher
from gateway.catalog.locks import KeyedLocks
from gateway.catalog.metadata import Metadata, parse_metadata, parse_settings
from gateway.catalog.namespaces import Namespaces
from gateway.catalog.previews import PreviewSwitch
from gateway.catalog.schedules import Schedules
from gateway.catalog.scripts import Scripts
from gateway.catalog.serving import Deployed, Serving
from gateway.catalog.uploads import Upload
from gateway.catalog.versions import Versions

__all__ = [
    "BulkRoutes",
    "BulkStored",
    "Candidate",
    "Deployed",
    "Deploys",
    "Hostnames",
    "KeyedLocks",
    "Launcher",
    "Metadata",
    "Namespaces",
    "PreviewSwitch",
    "RoutedHostname",
    "Schedules",
    "Scripts",
    "Serving",
    "Upload",
    "Versions",
    "parse_metadata",
    "parse_settings",
]
