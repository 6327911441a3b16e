"""What can be wrong with a request about namespaces, scripts and hostnames.

``code`` is Cloudflare's number where they have one for the case.
"""

from __future__ import annotations

from gateway.errors import ControlError


class NamespaceMissing(ControlError):
    """No such dispatch namespace."""

    status = 404
    code = 100119
    word = "namespace_not_found"


class NamespaceConflict(ControlError):
    """The namespace exists already, or is not empty, or is the default one."""

    status = 409
    code = 100120
    word = "namespace_conflict"


class ScriptMissing(ControlError):
    """No such script in the namespace, or it is another tenant's."""

    status = 404
    code = 10092
    word = "script_not_found"


class VersionMissing(ControlError):
    """No such version of the script, or it is not kept any more."""

    status = 404
    code = 10092
    word = "version_not_found"


class DeploymentMissing(ControlError):
    """No such deployment of the script, or it is not kept any more."""

    status = 404
    code = 10092
    word = "deployment_not_found"


class BadDeployment(ControlError):
    """The versions of a deployment, or their percentages, make no sense."""

    code = 10026
    word = "bad_deployment"


class BadSchedule(ControlError):
    """A schedule's expression cannot be read, or never comes due."""

    code = 10100
    word = "bad_schedule"


class TooManySchedules(ControlError):
    """More schedules than the tenant's plan allows."""

    status = 403
    code = 10072
    word = "too_many_schedules"


class BadName(ControlError):
    """The name cannot name a script, namespace or binding."""

    code = 10016
    word = "bad_name"


class NameForeign(ControlError):
    """The name belongs to another tenant than the caller."""

    status = 403
    code = 10016
    word = "name_belongs_elsewhere"


class BadUpload(ControlError):
    """The metadata or the modules make no sense."""

    code = 10026
    word = "bad_upload"


class UploadTooLarge(ControlError):
    """More code than the node accepts."""

    status = 413
    code = 10027
    word = "upload_too_large"


class UploadConflict(ControlError):
    """Another upload of the same script is under way."""

    status = 409
    code = 10035
    word = "upload_conflict"


class CodeRejected(ControlError):
    """The code could not be loaded in the jail."""

    code = 10021
    word = "code_rejected"


class NoHandlers(ControlError):
    """The code loads but offers nothing to call."""

    code = 10068
    word = "no_handlers"


class NoJavaScript(ControlError):
    """The main module is JavaScript, which this node cannot run."""

    code = 10021
    word = "no_javascript_runtime"


class BindingUnnamed(ControlError):
    """A binding has no usable name."""

    code = 10052
    word = "bad_binding_name"


class VariableTooLarge(ControlError):
    """Variables and secrets are too large together."""

    code = 10054
    word = "variables_too_large"


class TooManyBindings(ControlError):
    """A script has too many bindings."""

    code = 10055
    word = "too_many_bindings"


class BindingUnavailable(ControlError):
    """The binding's type does not exist on this platform."""

    code = 10056
    word = "binding_unavailable"


class InheritMissing(ControlError):
    """An inherited binding is not in the previous version."""

    code = 10057
    word = "inherited_binding_missing"


class SecretMissing(ControlError):
    """No such secret."""

    status = 404
    code = 10056
    word = "secret_not_found"


class HostnameWaits(ControlError):
    """The hostname has still to be shown to be its tenant's."""

    code = 10016
    word = "hostname_not_verified"


class BadHostname(ControlError):
    """The hostname cannot be routed."""

    code = 10016
    word = "bad_hostname"


class HostnameMissing(ControlError):
    """No such route, or it is another tenant's."""

    status = 404
    code = 7003
    word = "route_not_found"


class HostnameForeign(ControlError):
    """The hostname may not be routed by this tenant."""

    status = 403
    code = 10016
    word = "hostname_not_available"
