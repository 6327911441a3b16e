"""Subrequests to what is not the public internet, in every spelling, and by other schemes."""

from workers import fetch

URLS = """
http://127.0.0.1:9/ http://127.1:9/ http://0:9/ http://0.0.0.0:9/ http://2130706433:9/
http://0x7f000001:9/ http://0177.0.0.1:9/ http://0x7f.1:9/ http://[::1]:9/ http://[::]:9/
http://[::ffff:127.0.0.1]:9/ http://[::127.0.0.1]:9/ http://[64:ff9b::7f00:1]:9/
http://[2002:7f00:1::]:9/ http://[fe80::1%25lo]:9/ http://169.254.169.254/latest/
http://[fd00:ec2::254]/ http://100.100.100.200/ http://10.0.0.1/ http://192.168.0.1/
http://[::ffff:a9fe:a9fe]/ http://public@127.0.0.1:9/ http://127.0.0.1:9#@example.com/
http://\u2460\u2461\u2466.0.0.1:9/ http://127\u30020\u30020\u30021:9/ http://LOCALHOST.:9/
http://localhost:9/ http://ip6-localhost:9/ file:///etc/passwd ftp://127.0.0.1/
unix:///var/run/docker.sock http+unix://%2Fvar%2Frun%2Fdocker.sock/ gopher://127.0.0.1:9/
//127.0.0.1:9/ http:///127.0.0.1:9/ http://127.0.0.1:0/ http://127.0.0.1:99999/
http://\x00127.0.0.1:9/ http://127.0.0.1%00.example.com:9/ data:text/plain,x
""".split()
_asked = []


async def attempt():
    reached = []
    for url in URLS[len(_asked) : len(_asked) + 5]:
        _asked.append(url)
        try:
            answer = await fetch(url, headers={"Host": "victim.localhost", "Metadata": "true"})
            reached.append((url, answer.status))
        except Exception as error:
            # Refused before any connection is tried, or no name at all.
            if "does not accept" in str(error) or "in time" in str(error):
                reached.append((url, str(error)))
    return {"success": bool(reached), "detail": [len(_asked), reached]}
