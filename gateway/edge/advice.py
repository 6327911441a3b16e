"""What an error page says, by code: what happened, and what whoever reads it can do."""

from __future__ import annotations

from typing import Final, NamedTuple


class Advice(NamedTuple):
    """The words of one kind of page. ``retry`` is for visitors whom waiting may help."""

    what: str
    visitor: str
    developer: str


_RETRY: Final = "Wait a moment and load the page again."
_TELL_OWNER: Final = "Tell the owner of this site, with the request id below. " + _RETRY
_CHECK_REQUEST: Final = "Check the address or the form, then try again."
_CHECK_ADDRESS: Final = "Check the address for a typing mistake."
_RAISE_PLAN: Final = "Do less work in one request, or move to a plan with a higher limit."
_TAIL: Final = "Run “waypost tail” and repeat the request to see the traceback and the logs."

BY_CODE: Final[dict[str, Advice]] = {
    "1101": Advice("The code of this site threw an exception.", _TELL_OWNER, _TAIL),
    "1019": Advice(
        "This site asks itself, directly or through other sites, without end.",
        _TELL_OWNER,
        "Look for a fetch() of the worker's own hostname, or of one that leads back to it.",
    ),
    "1102": Advice(
        "The code of this site used more than its plan allows for one request.",
        _TELL_OWNER,
        _RAISE_PLAN,
    ),
    "wall_time": Advice(
        "The code of this site took longer to answer than its plan allows.",
        _TELL_OWNER,
        "Answer sooner, or set shorter timeouts on what the code waits for. " + _RAISE_PLAN,
    ),
    "no_runtime": Advice(
        "This site is written in JavaScript, which this server stores and does not run.",
        _TELL_OWNER,
        "Deploy a Python worker: its main module ends in .py.",
    ),
    "backoff": Advice(
        "The code of this site keeps failing, and is started again after a pause.",
        _RETRY,
        "The answer's Retry-After says when. " + _TAIL,
    ),
    "bad_response": Advice(
        "The code of this site answered with something that is not HTTP.", _TELL_OWNER, _TAIL
    ),
    "protocol": Advice(
        "The process of this site spoke out of turn and was stopped.", _TELL_OWNER, _TAIL
    ),
    "hostname_not_configured": Advice(
        "No site answers to this name here.",
        _CHECK_ADDRESS,
        "Deploy a script under this name, or add the hostname with “waypost routes add”.",
    ),
    "script_not_found": Advice(
        "This name leads to a script that does not exist.",
        _CHECK_ADDRESS,
        "Deploy the script, or point the hostname at one that exists with “waypost routes add”.",
    ),
    "suspended": Advice(
        "This site has been suspended by the platform.",
        "Come back later, or ask the owner of the site.",
        "Ask the operator of the platform why, and what would lift the suspension.",
    ),
    "load_shed": Advice(
        "Too many requests for this site are waiting already.",
        _RETRY,
        "Answer faster, or move to a plan that runs more requests at once.",
    ),
    "still_running": Advice(
        "The last call of this schedule is not over.",
        _RETRY,
        "Take less time in the handler of schedules, or schedule it less often.",
    ),
    "body_too_large": Advice(
        "What was sent is larger than this site's plan accepts.",
        "Send a smaller file.",
        "Accept uploads in parts, or move to a plan with a larger body limit.",
    ),
    "method_not_allowed": Advice(
        "The method of this request is not served here.",
        _CHECK_REQUEST,
        "Ask with GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS.",
    ),
    "request_timeout": Advice(
        "The request began and did not go on.",
        _RETRY,
        "Send the whole request at once; see “http” in the node's configuration.",
    ),
    "upgrade_required": Advice(
        "This version of WebSockets is not served.",
        _CHECK_REQUEST,
        "Use a client that speaks RFC 6455, version 13.",
    ),
    "no_websockets": Advice(
        "This site does not serve WebSockets.",
        _CHECK_ADDRESS,
        "Serve them with an ASGI application, or with WebSocketPair in a Worker.",
    ),
    "url_too_long": Advice(
        "The address of this request is too long.",
        "Follow a shorter link.",
        "Send long data in the body of the request instead of the address.",
    ),
    "headers_too_large": Advice(
        "The headers of this request are too large.",
        "Clear the cookies of this site, then try again.",
        "Set fewer or smaller cookies; they come back with each request.",
    ),
}

BY_FAULT: Final[dict[str, Advice]] = {
    "client": Advice(
        "The request cannot be understood.", _CHECK_REQUEST, "Check what the client sends."
    ),
    "tenant": Advice("The code of this site failed.", _TELL_OWNER, _TAIL),
    "limit": Advice("This site has reached a limit of its plan.", _TELL_OWNER, _RAISE_PLAN),
    "platform": Advice(
        "The platform that runs this site failed. The site itself is not at fault.",
        _RETRY,
        "Send the request id below to the operator of the platform.",
    ),
}

STEPS: Final[dict[str, tuple[str, str, str]]] = {
    "client": ("!Needs a change", "Working", "-Not reached"),
    "tenant": ("Working", "Working", "!Failed"),
    "limit": ("Working", "Working", "!At its limit"),
    "platform": ("Working", "!Failed", "-Not reached"),
}
"""What the page's picture says of visitor, platform and site; ``!`` broken, ``-`` not reached."""


def advice_for(code: str, fault: str) -> Advice:
    """The words for a code; for an unknown one, those for whose fault it is."""
    return BY_CODE.get(code) or BY_FAULT.get(fault) or BY_FAULT["platform"]
