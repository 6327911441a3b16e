"""Burns CPU until its plan's limit ends it."""


async def on_fetch(request):
    """Never answer."""
    print("burning")
    while True:
        pass
