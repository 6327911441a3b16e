"""A Worker in Cloudflare's manner: logs, a variable, JSON."""

from urllib.parse import parse_qs, urlsplit

from workers import Response, WorkerEntrypoint


class Default(WorkerEntrypoint):
    """Greets whoever asks."""

    async def fetch(self, request):
        """Answer one request."""
        query = parse_qs(urlsplit(request.url).query)
        name = query.get("name", ["world"])[0]
        print("greeting", name)
        return Response.json({"message": f"{self.env.GREETING}, {name}!"})
