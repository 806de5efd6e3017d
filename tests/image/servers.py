# SPDX-License-Identifier: Apache-2.0
"""Registries on loopback: Debian's docker-registry, and one of our own that misbehaves on request."""
import base64
import contextlib
import ctypes
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from images import digest

DEADLINE = 30
CLONE_NEWNET = 0x40000000


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """docker-registry, as a process of its own."""

    def __init__(self, folder, http_options="", auth="", port=None):
        self.folder, self.port = folder, port or free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.process = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http:\n  addr: {self.host}\n{http_options}{auth}")

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.folder / "config.yml"],
                                            stdout=log, stderr=log)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.02)
        raise AssertionError("docker-registry does not listen")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(DEADLINE)
            self.process = None


def push(layout, name, target, *options, timeout=60):
    done = subprocess.run(["skopeo", "copy", "--quiet", "--insecure-policy", *options, f"oci:{layout}:{name}",
                           f"docker://{target}"], capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr


def openssl(*args, **more):
    return subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60, **more).stdout


def make_certificate(folder):
    """An authority and a certificate of it for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", cwd=folder)
    openssl("req", *new, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1", cwd=folder)
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out",
            "server.pem", "-extfile", "ext", "-days", "3", cwd=folder)
    return folder


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.owner.answer(self)

    def do_POST(self):
        self.server.owner.answer(self)

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that goes away is what many tests want
        pass


class FakeRegistry:
    """
    Serves images from memory; by TLS with the certificate in the folder tls, if given. hooks: [(part of the path, function(handler, path) -> True if it answered)],
    the first that answers wins. requests: (path, headers) of everything asked.
    """

    def __init__(self, address="127.0.0.1", tls=None):
        self.manifests, self.blobs, self.hooks, self.requests = {}, {}, [], []
        self.stopping = threading.Event()
        self.server = Quiet((address, 0), Handler)
        self.server.owner = self
        self.host = f"{address}:{self.server.server_address[1]}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "server.pem", tls / "server.key")
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, image, tag="t"):
        self.add_manifest(image.raw, image.manifest["mediaType"], tag)
        self.blobs.update(image.blobs())
        return f"{self.host}/a/b:{tag}"

    def add_manifest(self, raw, media_type, tag):
        for key in (tag, digest(raw)):
            self.manifests[key] = (raw, media_type)

    def hook(self, part, function, times=None):
        left = [times]

        def limited(handler, path):
            if left[0] == 0:
                return False
            done = function(handler, path)
            if left[0] is not None:
                left[0] -= 1
            return done is not False
        self.hooks.append((part, limited))

    def asked(self, part):
        return [(path, headers) for path, headers in self.requests if part in path]

    def answer(self, h):
        path = h.path
        self.requests.append((path, dict(h.headers)))
        for part, function in self.hooks:
            if part in path and function(h, path):
                return
        path = path.split("?")[0]
        kind, name = path.rsplit("/", 2)[-2:] if path.count("/") > 2 else ("", "")
        if kind == "manifests" and name in self.manifests:
            raw, media_type = self.manifests[name]
            h.reply(200, raw, Content_Type=media_type, Docker_Content_Digest=digest(raw))
        elif kind == "blobs" and name in self.blobs:
            self.send_blob(h, self.blobs[name])
        else:
            h.reply(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}')

    def send_blob(self, h, data):
        start = 0
        if h.headers.get("Range"):
            start = int(h.headers["Range"].removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                h.reply(416)
            else:
                h.reply(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        else:
            h.reply(200, data)


class Proxy:
    """
    An HTTP proxy that knows one name only, {name: (address, port)}, and who may use it ("user:password").
    asked: the request lines, users: what each showed.
    """

    def __init__(self, hosts, user=None, status=None):
        self.hosts, self.user, self.status, self.asked, self.users = hosts, user, status, [], []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def stop(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.handle, args=(self.socket.accept()[0],), daemon=True).start()

    def handle(self, client):
        with client, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(65536) or b"\r\n\r\n"
            lines = head.split(b"\r\n\r\n")[0].decode().split("\r\n")
            shown = [l.split(" ", 1)[1] for l in lines if l.lower().startswith("proxy-authorization:")]
            self.asked.append(lines[0])
            self.users.append(shown[0] if shown else None)
            wanted = self.user and "Basic " + base64.b64encode(self.user.encode()).decode()
            if self.status or self.users[-1] != wanted:
                status = self.status or "407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\""
                client.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                return
            method, target, _ = lines[0].split(" ")
            name = target if method == "CONNECT" else urllib.parse.urlsplit(target).netloc
            with socket.create_connection(self.hosts[name]) as server:
                if method == "CONNECT":
                    client.sendall(b"HTTP/1.1 200 ok\r\n\r\n")
                else:
                    path = target.split(name, 1)[1]
                    rest = [l for l in lines[1:] if not l.lower().startswith(("proxy-", "connection:"))]
                    server.sendall("\r\n".join([f"{method} {path} HTTP/1.1", "Connection: close", *rest, "", ""])
                                   .encode())
                back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
                back.start()
                self.copy(client, server)
                back.join()

    @staticmethod
    def copy(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def network_of_its_own(*addresses):
    """This thread, and what it starts, sees nothing but a loopback interface with these addresses too."""
    with open("/proc/thread-self/ns/net", "rb") as before:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            for command in ["link set lo up", *(f"addr add {a} dev lo" for a in addresses)]:
                subprocess.run(["ip", *command.split()], check=True, timeout=DEADLINE)
            yield
        finally:
            assert libc.setns(before.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


class TokenService:
    """Signs tokens for docker-registry, for those who know the password or ask for what is public."""

    def __init__(self, folder):
        self.folder = make_certificate(folder)
        self.requests = []
        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/token"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def auth_options(self):
        return (f"auth:\n  token:\n    realm: {self.url}\n    service: the-registry\n    issuer: the-issuer\n"
                f"    rootcertbundle: {self.folder}/ca.pem\n")

    def sign(self, claims):
        def encode(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")
        der = openssl("x509", "-in", "server.pem", "-outform", "DER", cwd=self.folder)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        body = encode(json.dumps(header).encode()) + b"." + encode(json.dumps(claims).encode())
        raw = openssl("dgst", "-sha256", "-sign", "server.key", input=body, cwd=self.folder)
        # DER: SEQUENCE { INTEGER r, INTEGER s } to 32 bytes each
        r_len = raw[3]
        r, s = raw[4:4 + r_len], raw[6 + r_len:]
        return (body + b"." + encode(r[-32:].rjust(32, b"\0") + s[-32:].rjust(32, b"\0"))).decode()

    def answer(self, h):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(h.path).query)
        self.requests.append((query, dict(h.headers)))
        who = h.headers.get("Authorization")
        if who != "Basic " + base64.b64encode(b"user:secret word").decode():
            h.reply(401, b'{"details":"who are you"}')
            return
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        token = self.sign({"iss": "the-issuer", "sub": "user", "aud": query["service"][0], "exp": now + 300,
                           "nbf": now - 60, "iat": now, "jti": os.urandom(8).hex(), "access": access})
        h.reply(200, json.dumps({"token": token, "expires_in": 300}).encode(), Content_Type="application/json")
