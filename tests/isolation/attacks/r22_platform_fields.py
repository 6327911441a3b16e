"""Fields for the platform's whole domain, and those that only the platform may say."""


def attempt():
    headers = [
        ("set-cookie", "session=stolen; Domain=localhost"),
        ("set-cookie", "session=stolen; domain = .localhost ; Path=/"),
        ("waypost-outcome", "ok"),
        ("waypost-ray", "forged"),
        ("waypost-code", "none"),
        ("alt-svc", 'h3="evil.example:443"'),
    ]
    return {"response": {"body": "answer", "status": 200, "headers": headers}, "success": False}
