#!/usr/bin/env python3
"""A service behind forwardauth, of the standard library only: notes, each of which belongs to its user.

It believes nobody but the sidecar's signed identity token, so it may stand on a network that it doesn't trust. Ed25519 isn't in the
standard library, so ed25519.py beside this file has the verification (some milliseconds each); in production take a library for it.

  python3 service.py --port 9000 --sidecar http://127.0.0.1:8082
"""
import argparse
import base64
import json
import threading
import time
import urllib.request
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ed25519

LEEWAY = 2  # seconds that this machine's clock may be behind the sidecar's; a token's end has none: it has 15 s left when it is sent
LONGEST = 64 << 10  # of a body, in bytes


class Refused(Exception):
    pass


class BadRequest(Exception):
    """Says the status and the code of the answer."""

    def __init__(self, status, code, detail):
        super().__init__(detail)
        self.status, self.code = status, code


def decode(part):
    """base64url without padding, in the one form that it has (RFC 7515)."""
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise Refused("not base64url")
    return raw


def name_of(host):
    """A Host as it is in the tokens: in lower case, without a port."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


class Identities:
    """Checks identity tokens by the sidecar's keys, which are fetched again, at most once a second, when a kid isn't known."""

    def __init__(self, sidecar, issuer, audience):
        self.url, self.issuer, self.audience = sidecar + "/.well-known/jwks.json", issuer, audience
        self.keys, self.fetched, self.lock = {}, 0.0, threading.Lock()

    def key(self, kid):
        with self.lock:
            if kid not in self.keys and time.monotonic() - self.fetched > 1:
                self.fetched = time.monotonic()
                with urllib.request.urlopen(self.url, timeout=2) as answer:
                    found = json.load(answer)["keys"]
                self.keys = {k["kid"]: decode(k["x"]) for k in found if k["kty"] == "OKP" and k["crv"] == "Ed25519"}
            if kid not in self.keys:
                raise Refused("unknown key")
            return self.keys[kid]

    def check(self, token, method, host, path):
        """Returns the claims of a token that is for just this request, else raises Refused."""
        try:
            header, payload, signature = token.split(".")
            head = json.loads(decode(header))
            if head["alg"] != "EdDSA" or head["typ"] != "tocsin-identity+jwt":
                raise Refused("another kind of token")
            if not ed25519.verify(self.key(head["kid"]), f"{header}.{payload}".encode(), decode(signature)):
                raise Refused("bad signature")
            claims = json.loads(decode(payload))
            now = time.time()
            if claims["iss"] != self.issuer or claims["aud"] != self.audience:
                raise Refused("for another backend")
            if claims["exp"] <= now or claims["iat"] > now + LEEWAY:
                raise Refused("too old, or not yet valid")
            if claims["htm"] != method or claims["host"] != name_of(host) or claims["path"] != path:
                raise Refused("for another request")
            return claims
        except (ValueError, KeyError, TypeError, OSError, RecursionError) as error:
            raise Refused("malformed") from error


def text_of(body):
    """The text of a new note."""
    try:
        text = json.loads(body)["text"]
    except (ValueError, KeyError, TypeError, RecursionError):
        text = None
    if not isinstance(text, str):
        raise BadRequest(400, "invalid_request", 'a body as {"text": "…"} is wanted')
    return text


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def caller(self):
        """The claims, after the plain headers were compared with them: who has both can't be shown two identities."""
        tokens, hosts = self.headers.get_all("Tocsin-Identity") or [], self.headers.get_all("Host") or []
        if len(tokens) != 1 or len(hosts) != 1:
            raise Refused("one identity token and one Host are wanted")
        claims = self.server.identities.check(tokens[0], self.command, hosts[0], self.path.partition("?")[0])
        for name, want in (("Tocsin-Subject", claims["sub"]), ("Tocsin-Roles", ",".join(claims["roles"])), ("Tocsin-Mode", claims["mode"])):
            if (self.headers.get_all(name) or []) != ([want] if want else []):
                raise Refused(name + " isn't what the token says")
        return claims

    def body(self):
        """Reads it. http.server knows no chunks: it would take them for the next request, which nobody has judged."""
        if "Transfer-Encoding" in self.headers:
            raise BadRequest(411, "length_required", "a Content-Length is wanted")
        lengths = self.headers.get_all("Content-Length") or ["0"]
        if len(lengths) != 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            raise BadRequest(400, "invalid_request", "one Content-Length in digits is wanted")
        if len(lengths[0]) > 10 or int(lengths[0]) > LONGEST:
            raise BadRequest(413, "too_large", "the body is too large")
        return self.rfile.read(int(lengths[0]))

    def handle_request(self):
        try:
            body = self.body()
        except BadRequest as error:
            self.close_connection = True  # where the next request begins isn't known
            return self.problem(error)
        try:
            self.serve(body)
        except BadRequest as error:
            self.problem(error)

    def problem(self, error):
        self.answer(error.status, {"title": HTTPStatus(error.status).phrase, "status": error.status, "code": error.code, "detail": str(error)})

    def serve(self, body):
        if self.path == "/healthz":
            return self.answer(200, {"status": "ok"})
        try:
            user = self.caller()["sub"]
        except Refused as error:
            return self.answer(401, {"title": "Unauthorized", "status": 401, "code": "bad_identity", "detail": str(error)})
        notes = self.server.notes
        if self.command == "POST" and self.path == "/v1/notes":
            notes.setdefault(user, []).append(text_of(body))
            return self.answer(201, {"count": len(notes[user])})
        if self.command == "GET" and self.path == "/v1/notes":
            return self.answer(200, {"subject": user, "notes": notes.get(user, [])})
        if self.command == "DELETE" and self.path == "/v1/notes":
            notes.clear()
            return self.answer(200, {})
        return self.answer(404, {"title": "Not Found", "status": 404, "code": "not_found", "detail": "there is no such path"})

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--sidecar", default="http://127.0.0.1:8082", help="base URL of forwardauth")
    parser.add_argument("--issuer", default="tocsin-forwardauth", help="TOCSIN_IDENTITY_ISSUER of forwardauth")
    parser.add_argument("--backend", default="notes", help="the backend's name in the routes")
    args = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", args.port), Handler)
    server.notes, server.identities = {}, Identities(args.sidecar, args.issuer, args.backend)
    print(f"service on http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
