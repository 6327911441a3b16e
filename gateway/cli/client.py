"""A synchronous client of the control API, with errors that a person can act on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from gateway import __version__
from gateway.cli.credentials import Target
from gateway.cli.output import CliError

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_LONG = httpx.Timeout(120.0, connect=5.0)


class ApiError(CliError):
    """The control API refused; ``http_status`` and ``code`` are its own."""

    def __init__(self, message: str, *, http_status: int, code: str = "", fix: str = "") -> None:
        super().__init__(message, fix=fix, code=code)
        self.http_status = http_status


class ConnectionLostError(CliError):
    """A live answer ended before its time."""


def segment(text: str) -> str:
    """A path segment, percent-encoded, so that no name can leave its place in a path."""
    if text in ("", ".", ".."):
        raise CliError(f"{text!r} is not a name", status=2)
    return quote(text, safe="")


class ControlClient:
    """Talks to one node's control API; close it, or use it in a ``with``."""

    def __init__(self, target: Target) -> None:
        self.api = target.api
        self.notes: list[str] = []
        """What the last answer said besides its result."""
        headers = {"user-agent": f"waypost-cli/{__version__}", "accept": "application/json"}
        if target.token:
            headers["authorization"] = f"Bearer {target.token}"
        try:
            # No proxies and no netrc from the environment: the token goes to the node or nowhere.
            self._http = httpx.Client(
                base_url=target.api, headers=headers, timeout=_TIMEOUT, trust_env=False
            )
        except (httpx.InvalidURL, ValueError, UnicodeError) as error:
            raise CliError(f"cannot talk to {target.api!r}: {error}", status=2) from error

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """GET a resource."""
        return self._call("GET", path, params=params)

    def put(self, path: str, body: Any) -> Any:
        """PUT a JSON body."""
        return self._call("PUT", path, json=body)

    def post(self, path: str, body: Any) -> Any:
        """POST a JSON body."""
        return self._call("POST", path, json=body)

    def run(self, path: str, body: Any) -> Any:
        """POST a JSON body whose answer takes as long as tenants' code does."""
        return self._call("POST", path, json=body, timeout=_LONG)

    def delete(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """DELETE a resource."""
        return self._call("DELETE", path, params=params)

    def send(
        self, method: str, path: str, content: Iterable[bytes], headers: Mapping[str, str]
    ) -> Any:
        """Stream a body up and return the JSON answer."""
        return self._call(method, path, content=content, headers=headers, timeout=_LONG)

    def encode_multipart(
        self, parts: list[tuple[str, tuple[str | None, bytes, str]]]
    ) -> tuple[bytes, str]:
        """A multipart body with its parts in the given order, and its content type."""
        request = self._http.build_request("PUT", "/", files=parts)
        return request.read(), request.headers["content-type"]

    @contextmanager
    def stream(self, path: str, *, silence_seconds: float) -> Iterator[Iterator[str]]:
        """The lines of a live answer; ``silence_seconds`` without a byte is a lost connection."""
        timeout = httpx.Timeout(silence_seconds, connect=5.0)
        headers = {"accept": "text/event-stream"}
        try:
            with self._http.stream("GET", path, timeout=timeout, headers=headers) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response.iter_lines()
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise ConnectionLostError(f"lost the connection to {self.api}: {error}") from error

    @contextmanager
    def download(self, path: str, params: Mapping[str, str]) -> Iterator[Iterator[bytes]]:
        """The bytes of a long answer, as they come; one that is cut short is an error."""
        try:
            with self._http.stream("GET", path, params=params, timeout=_LONG) as response:
                if not response.is_success:
                    response.read()
                    raise _refusal(response)
                yield response.iter_bytes()
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TransportError as error:
            raise ConnectionLostError(f"lost the connection to {self.api}: {error}") from error

    def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except httpx.ConnectError as error:
            raise self._unreachable(error) from error
        except httpx.TimeoutException as error:
            raise CliError(
                f"{self.api} did not answer in time", fix="see the node's log; then try again"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CliError(f"lost the connection to {self.api}: {error}") from error
        if not response.is_success:
            raise _refusal(response)
        body = _body(response)
        if isinstance(body, dict) and "success" in body and "result" in body:
            self.notes = _notes(body)
            return body["result"]
        return body

    def _unreachable(self, error: httpx.ConnectError) -> CliError:
        return ConnectionLostError(
            f"cannot reach a node at {self.api}: {error}",
            fix="start one with `waypost serve`, or name another with --api or WAYPOST_API",
        )


def _body(response: httpx.Response) -> Any:
    if not response.content:
        return None
    try:
        return response.json()
    except ValueError as error:
        raise CliError(
            f"{response.url} answered with something that is not JSON",
            fix="check that --api names the control API (8788), not the tenants' port (8787)",
        ) from error


def _notes(envelope: dict[str, Any]) -> list[str]:
    """The messages of Cloudflare's envelope."""
    messages = envelope.get("messages") or []
    return [str(note.get("message", "")) for note in messages if isinstance(note, dict)]


def _refusal(response: httpx.Response) -> ApiError:
    message, code, fix = _explain(response)
    if response.status_code == 401 or (response.status_code == 403 and not fix):
        fix = "log in with `waypost login`, or give --token or WAYPOST_TOKEN"
    return ApiError(message, http_status=response.status_code, code=code, fix=fix)


def _explain(response: httpx.Response) -> tuple[str, str, str]:
    """Message, code and fix of an error answer, in either of the API's two shapes."""
    plain = f"{response.request.method} {response.url.path} answered {response.status_code}"
    try:
        body = response.json()
    except ValueError:
        return plain, "", "check that --api names the control API (8788)"
    if not isinstance(body, dict):
        return plain, "", ""
    errors = body.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return _explain_envelope(errors[0], plain)
    error = body.get("error")
    if isinstance(error, dict):
        said = str(error.get("message") or plain)
        return said, str(error.get("code", "")), str(error.get("fix", ""))
    return plain, "", ""


def _explain_envelope(error: dict[str, Any], plain: str) -> tuple[str, str, str]:
    """Cloudflare's envelope carries one error; our fix stands in its chain."""
    chain = error.get("error_chain")
    fix = chain[0].get("message", "") if isinstance(chain, list) and chain else ""
    return str(error.get("message") or plain), str(error.get("code", "")), str(fix)
