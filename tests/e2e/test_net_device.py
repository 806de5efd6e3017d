# SPDX-License-Identifier: Apache-2.0
"""The network device with a real driver: bulk in large segments, a driver that goes and comes, a guest that never reads."""
import contextlib
import hashlib
import os
import pathlib
import socket
import threading
import urllib.request

import pytest

ALIAS = "host.microsandbox.internal"


class Server:
    """On the host's loopback; `serve` gets each connection on a thread of its own."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.serve, self.ended = serve, threading.Semaphore(0)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._run, args=(self.listener.accept()[0],), daemon=True).start()

    def _run(self, client):
        with client, contextlib.suppress(OSError):
            self.serve(client)
        self.ended.release()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def until_closed(client):
    client.sendall(b"connected\n")
    while client.recv(65536):
        pass


def for_ever(client):
    while True:
        client.sendall(bytes(1 << 20))


@contextlib.contextmanager
def serving(serve):
    server = Server(serve)
    try:
        yield server
    finally:
        server.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def worker_memory(running):
    """KiB of memory that is its own, of the process below msb."""
    worker = [p for p in running.processes() if p.executable() == "msb"]
    assert len(worker) == 1, worker
    status = pathlib.Path(f"/proc/{worker[0].pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])


def average(text, name):
    """Bytes per packet, from a line "NAME BYTES PACKETS"."""
    words = next(line for line in text.splitlines() if line.startswith(name)).split()
    return int(words[1]) / int(words[2])


@pytest.mark.engine
def test_bulk_in_large_segments(msb, busybox):
    """Both ways, whole, and in segments beyond the MTU: neither side cuts them up for the other."""
    data = os.urandom(2 << 20)
    port = free_port()
    stats = "/sys/class/net/eth0/statistics"
    with serving(lambda client: client.sendall(data)) as server:
        running = msb.start_run(
            "--net", "host", "-p", f"{port}:80", busybox, "--", "sh", "-c",
            f"set -e; cd /dev/shm; nc {ALIAS} {server.port} </dev/null >data; md5sum <data; httpd -p 80 -h /dev/shm; "
            f"echo ready; read line; echo rx $(cat {stats}/rx_bytes {stats}/rx_packets); "
            f"echo tx $(cat {stats}/tx_bytes {stats}/tx_packets)")
        running.wait_for(b"ready\n")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data", timeout=60 * msb.patience) as reply:
            assert reply.read() == data
        running.write(b"\n")
        result = running.wait()
    assert result.code == 0, result
    assert result.text.startswith(hashlib.md5(data).hexdigest()), result
    assert average(result.text, "rx") > 3000 and average(result.text, "tx") > 3000, result


DRIVER = "/sys/bus/virtio/drivers/virtio_net"


@pytest.mark.engine
def test_a_driver_that_goes_takes_its_connections_along(msb, busybox):
    """The machine lives on; the host's sockets do not. The next driver finds a working network."""
    with serving(until_closed) as server:
        running = msb.start_run(
            "--net", "host", busybox, "--", "sh", "-c",
            f"dev=$(basename $(readlink /sys/class/net/eth0/device)); (sleep 1000 | nc {ALIAS} {server.port} >&2) & "
            f"read line; echo $dev >{DRIVER}/unbind; [ -e /sys/class/net/eth0 ] || echo gone; read line; "
            f"echo $dev >{DRIVER}/bind; ip link set eth0 up; ip addr add 172.16.0.2/30 dev eth0; "
            f"ip route add default via 172.16.0.1; nc {ALIAS} {server.port} </dev/null; kill $!")
        running.wait_for(b"connected\n", name="err")
        assert not server.ended.acquire(timeout=0)
        running.write(b"\n")
        running.wait_for(b"gone\n")
        assert server.ended.acquire(timeout=30 * msb.patience)
        running.write(b"\n")
        result = running.wait()
    assert result.text == "gone\nconnected\n", result


def test_a_guest_that_never_reads(msb, busybox):
    """It costs the host a bounded amount, and its other connections go on."""
    count = 20
    with serving(for_ever) as flood, serving(until_closed) as other:
        running = msb.start_run(
            "--net", "host", busybox, "--", "sh", "-c",
            f"for i in $(seq {count}); do nc {ALIAS} {flood.port} </dev/null | sleep 1000 & done; "
            f"while [ $(grep -c ':{flood.port:04X} 0[145]' /proc/net/tcp) -lt {count} ]; do sleep 0.1; done; "
            f"nc {ALIAS} {other.port} </dev/null; read line; nc {ALIAS} {other.port} </dev/null")
        running.wait_for(b"connected\n")
        assert worker_memory(running) < 16 << 10
        running.write(b"\n")
        result = running.wait()
        for _ in range(count):  # with the guest, its sockets on the host have ended
            assert flood.ended.acquire(timeout=30 * msb.patience)
    assert result.text == "connected\nconnected\n", result
