# SPDX-License-Identifier: Apache-2.0
"""Servers on the host's loopback for guests to talk to: HTTP, TCP, UDP, and a resolver that answers as it is told."""
import contextlib
import http.server
import ipaddress
import select
import socket
import socketserver
import struct
import threading
import time

TYPES = {"A": 1, "AAAA": 28, "TXT": 16}
NXDOMAIN, SERVFAIL = 3, 2


class V6(socketserver.TCPServer):
    address_family = socket.AF_INET6


class UdpV6(socketserver.UDPServer):
    address_family = socket.AF_INET6


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port():
    """A port that TCP and UDP are free of, for msb to listen on."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", tcp.getsockname()[1]))
        return tcp.getsockname()[1]


class HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):  # pylint: disable=invalid-name
        body = b"hello from the host\n" if self.path == "/" else bytes(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):  # pylint: disable=arguments-differ
        pass


class ReadsToTheEnd(socketserver.BaseRequestHandler):
    """Answers only after the client has half-closed: the answer proves that both directions end apart."""

    def handle(self):
        size = 0
        while chunk := self.request.recv(65536):
            size += len(chunk)
        self.request.sendall(b"got %d bytes" % size)


class EchoDatagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data, self.client_address)


class Threads(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = allow_reuse_address = True


class ThreadsV6(socketserver.ThreadingMixIn, V6):
    daemon_threads = allow_reuse_address = True


class Udp(socketserver.UDPServer):
    max_packet_size = 65536


class Udp6(UdpV6):
    max_packet_size = 65536


class FullBacklog:
    """A TCP port whose connections are never taken: with its backlog full it does not answer at all."""

    def __init__(self):
        self.server = socket.socket()
        self.server.bind(("127.0.0.1", 0))
        self.server.listen(0)
        self.port = self.server.getsockname()[1]
        self.fill = []
        for _ in range(4):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", self.port))
            self.fill.append(client)

    def close(self):
        for sock in [*self.fill, self.server]:
            sock.close()


class Socks5(socketserver.BaseRequestHandler):
    """Plays the whole world: any address answers with what was asked of it, but port 81 refuses."""

    USER, PASSWORD = "guest", "let me in"

    def take(self, size):
        data = b""
        while len(data) < size:
            chunk = self.request.recv(size - len(data))
            if not chunk:
                raise ConnectionError
            data += chunk
        return data

    def log_in(self):
        assert self.take(1) == b"\5" and 2 in self.take(self.take(1)[0])
        self.request.sendall(b"\5\2")
        assert self.take(1) == b"\1"
        user, password = (self.take(self.take(1)[0]).decode() for _ in range(2))
        good = (user, password) == (self.USER, self.PASSWORD)
        self.request.sendall(b"\1\0" if good else b"\1\1")
        return good

    def handle(self):
        if not self.log_in():
            return
        command, kind = self.take(4)[1::2]
        assert command == 1 and kind in (1, 4)
        address = str(ipaddress.ip_address(self.take(4 if kind == 1 else 16)))
        port = struct.unpack(">H", self.take(2))[0]
        self.server.asked.append((address, port))
        self.request.sendall(b"\5" + (b"\5" if port == 81 else b"\0") + b"\0\1" + bytes(6))
        if port == 81:
            return
        data = b""
        while chunk := self.request.recv(65536):
            data += chunk
        self.request.sendall(f"{address}:{port} got ".encode() + data)


# ---- DNS ----

def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.rstrip(".").split(".")) + b"\0"


def query(name, kind="A", number=0x1234):
    return struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack(">2H", TYPES[kind], 1)


def skip_name(message, at):
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def parse_reply(message):
    """(response code, truncated, addresses)"""
    _, flags, questions, answers, _, _ = struct.unpack_from(">6H", message)
    at, found = 12, []
    for _ in range(questions):
        at = skip_name(message, at) + 4
    for _ in range(answers):
        at = skip_name(message, at)
        kind, _, _, length = struct.unpack_from(">HHIH", message, at)
        at += 10
        if kind in (1, 28):
            found.append(str(ipaddress.ip_address(message[at:at + length])))
        at += length
    return flags & 15, bool(flags & 0x0200), found


class Resolver:
    """
    UDP and TCP on one port of 127.0.0.1. The name says what to do: an entry of `zone` (name -> list of addresses), or
    dead.test: no answer; lame.test: SERVFAIL; big.test: truncated on UDP, whole on TCP; slow.test: after a while;
    anything else: NXDOMAIN.
    """

    BIG = [f"93.184.{i // 200}.{i % 200 + 1}" for i in range(60)]

    def __init__(self, zone):
        self.zone = zone
        self.asked = []
        while True:
            self.tcp = socket.create_server(("127.0.0.1", 0))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                self.udp.bind(("127.0.0.1", self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.wake, self.woken = socket.socketpair()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            ready, _, _ = select.select([self.udp, self.tcp, self.woken], [], [])
            if self.woken in ready:
                return
            if self.udp in ready:
                message, peer = self.udp.recvfrom(4096)
                reply = self.reply(message, "udp")
                if reply and b"\4slow" in message:
                    time.sleep(0.4)
                if reply:
                    self.udp.sendto(reply, peer)
            if self.tcp in ready:
                threading.Thread(target=self._serve_stream, args=(self.tcp.accept()[0],), daemon=True).start()

    def _serve_stream(self, client):
        with client, client.makefile("rwb") as stream:
            client.settimeout(30)
            while len(prefix := stream.read(2)) == 2:
                reply = self.reply(stream.read(struct.unpack(">H", prefix)[0]), "tcp")
                if not reply:
                    return
                stream.write(struct.pack(">H", len(reply)) + reply)
                stream.flush()

    def reply(self, message, transport):
        number = struct.unpack_from(">H", message)[0]
        end = skip_name(message, 12)
        labels, at = [], 12
        while message[at]:
            labels.append(message[at + 1:at + 1 + message[at]].decode())
            at += 1 + message[at]
        name, kind = ".".join(labels).lower(), struct.unpack_from(">H", message, end)[0]
        self.asked.append((name, transport))
        question = message[12:end + 4]
        flags, records = 0x8180, [a for a in self.zone.get(name, []) if (":" in a) == (kind == 28)]
        if name == "dead.test":
            return None
        if name == "lame.test":
            flags |= SERVFAIL
        elif name == "big.test":
            records = self.BIG
            if transport == "udp":
                flags, records = flags | 0x0200, []
        elif name not in self.zone:
            flags |= NXDOMAIN
        packed = [ipaddress.ip_address(a).packed for a in records]
        answers = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1 if len(p) == 4 else 28, 1, 60, len(p)) + p for p in packed)
        return struct.pack(">6H", number, flags, 1, len(packed), 0, 0) + question + answers

    def close(self):
        self.wake.send(b"x")
        self.thread.join()
        for sock in (self.udp, self.tcp, self.wake, self.woken):
            sock.close()
