"""Speak to a neighbour in the platform's name: its fields, another client, another Host."""

from workers import fetch

FIELDS = {
    "Waypost-Hops": "0",
    "Waypost-Tenant": "victim",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "api.localhost",
    "Forwarded": "for=127.0.0.1;host=api.localhost",
    "CF-Connecting-IP": "127.0.0.1",
    "Authorization": "Bearer none",
}


async def attempt():
    reached = []
    for path in ("/v1/tenants", "/readyz", "/metrics", "/client/v4/accounts/platform/workers"):
        answer = await fetch(f"http://victim.localhost{path}", headers=FIELDS)
        text = await answer.text()
        if text != "the victim's own answer":
            reached.append([path, answer.status, text[:200]])
    return {"success": bool(reached), "detail": reached}
