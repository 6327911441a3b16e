"""A script's code, given back as it was uploaded."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from gateway.model.script import Module, Version


def content_response(version: Version) -> Response:
    """One module as it is, several as multipart/form-data, the main one named in a header."""
    entrypoint = {"cf-entrypoint": _quote(version.main_module)}
    if len(version.modules) == 1:
        response = Response(version.modules[0].content, headers=entrypoint)
        # set as it is: a charset would change what was uploaded
        response.headers["content-type"] = version.modules[0].content_type
        return response
    return multipart_response(version)


def multipart_response(version: Version) -> Response:
    """The modules as multipart/form-data, however many."""
    entrypoint = {"cf-entrypoint": _quote(version.main_module)}
    boundary = secrets.token_hex(16)
    body = b"".join(_part(boundary, module) for module in version.modules)
    response = Response(body + f"--{boundary}--\r\n".encode(), headers=entrypoint)
    response.headers["content-type"] = f"multipart/form-data; boundary={boundary}"
    return response


def _part(boundary: str, module: Module) -> bytes:
    name = _quote(module.name)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
        f"Content-Type: {module.content_type}\r\n\r\n"
    )
    return head.encode() + module.content + b"\r\n"


def _quote(name: str) -> str:
    return name.replace('"', "%22")
