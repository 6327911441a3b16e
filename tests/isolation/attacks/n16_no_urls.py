"""Have the platform blamed for URLs that are none once they are asked for their host."""

from workers import fetch

URLS = [
    "http://xn--" + "a" * 300 + "/",
    "http://a.test/" + "\u00e9" * 15_000,
    "http://[::1%25" + "a" * 5000 + "]/",
    "http://" + "\u0130" * 4000 + ".test/",
    "http://a.test:" + "9" * 5000 + "/",
]


async def attempt():
    said = []
    for url in URLS:
        try:
            said.append((await fetch(url)).status)
        except Exception as error:
            if "platform" in str(error):
                said.append(str(error)[:200])
    return {"success": bool(said), "detail": said}
