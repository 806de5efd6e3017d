# SPDX-License-Identifier: Apache-2.0
"""
Guests on the network: what they reach, what they are refused, and how that looks to them and to the user.

A boot takes seconds, so a guest is booted once per kind of policy and asked many things (netprobe.c). Its servers run on
the host's loopback, which a guest reaches by the host alias.
"""
import functools
import hashlib
import http.server
import json
import os
import pathlib
import socket
import struct
import subprocess

import pytest

import netfixtures as net
from conftest import copy_tree
from sandbox import Msb, one_line_error

HOST4, HOST6 = "172.16.0.1", "fd42:6d73:62::1"
POOL4 = "10.77.0.1"  # the gateway in the pool of the restricted guest
ALIAS = "host.microsandbox.internal"
ZONE = {
    "plain.test": ["93.184.216.34", "2606:2800:220:1::1"],
    "rebind.test": ["93.184.216.34", "192.168.1.1"],
    "meta.test": ["169.254.169.254"],
    "loop.test": ["::1", "127.0.0.1"],
    "bad.test": ["93.184.216.35"],
    "www.bad.test": ["93.184.216.35"],
    "slow.test": ["93.184.216.36"],
}


class Guest:
    """A machine that runs netprobe: ask() puts one request and returns the words of its answer."""

    def __init__(self, msb, root, probe, *options, **keywords):
        command = ["-v", f"{probe.parent}:/probe:ro", *options, root, "--", "/probe/netprobe"]
        self.running = msb.start_run(*command, **keywords)
        self.running.wait_for(b"ready\n")
        self.lines = 1

    def ask(self, *words, seconds=30):
        self.running.write(" ".join(map(str, words)).encode() + b"\n")
        self.running.wait_for_line(self.lines + 1, seconds)
        self.lines += 1
        return self.running.output().decode().splitlines()[self.lines - 1].split(" ")

    def talk(self, kind, host, port, data=b"", ms=10000):
        """Bytes that came back, or the words of the failure."""
        answer = self.ask(kind, host, port, ms, data.hex() or "-")
        return bytes.fromhex(answer[1].strip("-")) if answer[0] == "ok" else " ".join(answer)

    def sh(self, command):
        return bytes.fromhex(self.ask("sh", command)[1].strip("-")).decode()

    def dns(self, server, name, kind="A", transport="udp", ms=10000):
        message = net.query(name, kind)
        if transport == "udp":
            reply = self.talk("udp", server, 53, message, ms)
        else:
            reply = self.talk("tcp", server, 53, struct.pack(">H", len(message)) + message, ms)
        if isinstance(reply, str):
            return reply
        return net.parse_reply(reply if transport == "udp" else reply[2:])

    def end(self):
        self.running.popen.stdin.close()
        return self.running.wait()


@pytest.fixture(scope="module")
def probe(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "netprobe"
    source = pathlib.Path(__file__).with_name("netprobe.c")
    subprocess.run(["musl-gcc", "-static", "-O1", "-Wall", "-Werror", "-o", path, source], check=True)
    return path


@pytest.fixture(scope="module")
def own_msb(msb):
    """Outlives a test: what `msb` starts is ended after each."""
    mine = Msb(msb.binary, msb.engine, msb.patience)
    yield mine
    left = mine.reap()
    assert not left, f"processes outlived their msb: {left}"


@pytest.fixture(scope="module")
def http4():
    with net.serving(net.Threads(("127.0.0.1", 0), net.HttpHandler)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def http6():
    with net.serving(net.ThreadsV6(("::1", 0), net.HttpHandler)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def sink():
    with net.serving(net.Threads(("127.0.0.1", 0), net.ReadsToTheEnd)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def echo4():
    with net.serving(net.Udp(("127.0.0.1", 0), net.EchoDatagram)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def echo6():
    with net.serving(net.Udp6(("::1", 0), net.EchoDatagram)) as server:
        yield server.server_address[1]


@pytest.fixture(scope="module")
def resolver():
    made = net.Resolver(ZONE)
    yield made
    made.close()


@pytest.fixture(scope="module")
def published():
    return {name: net.free_port() for name in ("tcp", "tcp6", "udp", "unserved", "denied")}


@pytest.fixture(scope="module")
def reach_all(own_msb, busybox, probe, resolver, published):
    """Everything allowed, IPv6 whatever the host has, names from our resolver, two ports published."""
    guest = Guest(own_msb, busybox, probe, "--net", "all", "--net-ipv6-pool", "fd42:6d73:62::/48",
                  "--dns-nameserver", f"127.0.0.1:{resolver.port}", "--dns-query-timeout-ms", "1500",
                  "-p", f"{published['tcp']}:7000", "-p", f"{published['udp']}:7000/udp",
                  "-p", f"{published['unserved']}:7001", "-p", f"[::1]:{published['tcp6']}:7000")
    assert guest.ask("serve", 7000) == ["ok"]
    yield guest
    result = guest.end()
    assert (result.code, result.err) == (0, "")


@pytest.fixture(scope="module")
def proxy():
    with net.serving(net.Threads(("127.0.0.1", 0), net.Socks5)) as server:
        server.asked = []
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    made = tmp_path_factory.mktemp("certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=fixture", "-keyout", made / "key", "-out", made / "pem"], capture_output=True, check=True)
    return made / "pem"


@pytest.fixture(scope="module")
def own_root(busybox, tmp_path_factory):
    """With a bundle of certificates of its own, and a resolver file that leads nowhere."""
    root = copy_tree(busybox, tmp_path_factory.mktemp("restricted") / "root")
    (root / "etc/ssl/certs").mkdir(parents=True)
    (root / "etc/ssl/certs/ca-certificates.crt").write_text("# the image's own\n")
    os.symlink("../run/systemd/resolve/stub-resolv.conf", root / "etc/resolv.conf")
    return root


@pytest.fixture(scope="module")
def restricted(own_msb, own_root, probe, resolver, http4, proxy, certificate, published):
    """The default reach and one port of the host; some names are refused; out to the world by a proxy; another pool."""
    rules = f"deny@*.bad.test,allow@host:tcp:{http4},deny:ingress@loopback:tcp:7002"
    env = {**os.environ, "PROXY_PASSWORD": net.Socks5.PASSWORD, "SSL_CERT_FILE": str(certificate)}
    guest = Guest(own_msb, own_root, probe, "--net", "public", "--net-rule", rules, "--log-level", "info",
                  "--dns-nameserver", f"127.0.0.1:{resolver.port}", "--net-ipv6-pool", "fd42:6d73:62::/48",
                  "--net-ipv4-pool", "10.77.0.0/24", "--trust-host-cas", "-p", f"{published['denied']}:7002",
                  "--proxy", f"socks5://127.0.0.1:{proxy.server_address[1]}", "--socks5-username", net.Socks5.USER,
                  "--socks5-password-env", "PROXY_PASSWORD", env=env)
    yield guest
    result = guest.end()
    assert result.code == 0
    assert "info: network: refused " in result.err, result.err  # the sum, at the end


# ---- what the guest is told ----

@pytest.mark.engine
def test_addresses_are_there_from_the_start(reach_all):
    """Nothing is tentative: the first program may use them."""
    shown = reach_all.sh("cat /proc/net/if_inet6 /proc/net/route; cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu")
    assert "fd42" in shown and " 40 00 82     eth0" in shown, shown
    assert "eth0\t00000000\t010010AC" in shown
    assert "02:6d:73:00:00:02\n1500" in shown


def test_names_files(reach_all, busybox):
    """The guest has its own, and may edit them; the host's folder keeps what it had."""
    before = {path.name: path.read_bytes() for path in (busybox / "etc").iterdir()}
    assert reach_all.sh("cat /etc/resolv.conf") == f"nameserver {HOST4}\nnameserver {HOST6}\n"
    hosts = reach_all.sh("cat /etc/hosts").splitlines()
    assert f"{HOST4}\t{ALIAS}" in hosts and f"{HOST6}\t{ALIAS}" in hosts and hosts[0].startswith("127.0.0.1\tlocalhost")
    assert reach_all.sh("echo 10.9.8.7 mine >>/etc/hosts && tail -1 /etc/hosts") == "10.9.8.7 mine\n"
    assert reach_all.ask("resolve", "mine") == ["ok", "10.9.8.7"]
    assert {path.name: path.read_bytes() for path in (busybox / "etc").iterdir()} == before


def test_another_pool(restricted):
    assert "10.77.0.2/30" in restricted.sh("ip -4 addr show eth0")
    assert restricted.sh("cat /etc/resolv.conf") == f"nameserver {POOL4}\nnameserver {HOST6}\n"


def test_certificates_of_the_host(restricted, own_root, certificate):
    """Added to the guest's bundle; the folder keeps its own."""
    bundle = restricted.sh("cat /etc/ssl/certs/ca-certificates.crt")
    assert bundle.startswith("# the image's own\n-----BEGIN CERTIFICATE-----\n")
    assert bundle.split("-----")[2].split() == certificate.read_text().split("-----")[2].split()
    assert (own_root / "etc/ssl/certs/ca-certificates.crt").read_text() == "# the image's own\n"
    assert os.readlink(own_root / "etc/resolv.conf") == "../run/systemd/resolve/stub-resolv.conf"


# ---- what the guest reaches ----

@pytest.mark.engine
def test_http_by_the_host_alias(reach_all, http4, http6):
    assert reach_all.sh(f"wget -q -O - http://{ALIAS}:{http4}/") == "hello from the host\n"
    assert reach_all.sh(f"wget -q -O - http://{HOST4}:{http4}/5000000 | wc -c") == "5000000\n"
    assert reach_all.sh(f"wget -q -O - 'http://[{HOST6}]:{http6}/'") == "hello from the host\n"


def test_half_close_and_bulk_upload(reach_all, sink):
    assert reach_all.talk("tcp", HOST4, sink, b"x" * 90000) == b"got 90000 bytes"


@pytest.mark.engine
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507])
def test_udp_of_every_size(reach_all, echo4, echo6, size):
    data = os.urandom(size)
    assert reach_all.talk("udp", HOST4, echo4, data) == data
    if size < 65507:
        assert reach_all.talk("udp", HOST6, echo6, data) == data


@pytest.mark.engine
def test_refusals_and_silence_pass_through(reach_all):
    """The guest's connect() ends as the host's did: nothing pretends to be there."""
    closed = net.free_port()
    assert reach_all.talk("tcp", HOST4, closed) == "error ECONNREFUSED"
    assert reach_all.talk("tcp", HOST6, closed) == "error ECONNREFUSED"
    assert reach_all.talk("udp", HOST4, closed, b"x") == "error ECONNREFUSED"
    silent = net.FullBacklog()
    try:
        assert reach_all.talk("tcp", HOST4, silent.port, ms=1500) == "timeout"
    finally:
        silent.close()


def test_reset_by_the_server(reach_all):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        reach_all.running.write(b"tcp %s %d 10000 -\n" % (HOST4.encode(), server.getsockname()[1]))
        client, _ = server.accept()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        reach_all.running.wait_for_line(reach_all.lines + 1)
        reach_all.lines += 1
    assert reach_all.running.output().decode().splitlines()[-1] == "error ECONNRESET"


def test_ping_of_the_gateway(reach_all):
    assert "1 packets received" in reach_all.sh(f"ping -c 1 -W 10 {HOST4}")
    assert "1 packets received" in reach_all.sh(f"ping6 -c 1 -W 10 {HOST6}")


@pytest.mark.engine
def test_out_by_a_proxy(restricted, proxy):
    """What policy allows goes by the proxy, with the address the guest chose; the host's own services do not."""
    assert restricted.talk("tcp", "93.184.216.34", 80, b"hello") == b"93.184.216.34:80 got hello"
    assert restricted.talk("tcp", "2606:2800:220:1::1", 8080, b"six") == b"2606:2800:220:1::1:8080 got six"
    assert restricted.talk("tcp", "93.184.216.34", 81) == "error ECONNREFUSED"  # says the proxy
    assert [port for _, port in proxy.asked] == [80, 8080, 81]


# ---- names ----

@pytest.mark.engine
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("server", [HOST4, HOST6])
def test_names_are_resolved(reach_all, server, transport):
    assert reach_all.dns(server, "plain.test", "A", transport) == (0, False, ["93.184.216.34"])
    assert reach_all.dns(server, "plain.test", "AAAA", transport) == (0, False, ["2606:2800:220:1::1"])
    assert reach_all.dns(server, "nobody.test", "A", transport)[0] == net.NXDOMAIN
    assert reach_all.dns(server, ALIAS, "A", transport) == (0, False, [HOST4])
    assert reach_all.dns(server, ALIAS, "AAAA", transport) == (0, False, [HOST6])


def test_library_and_tools_resolve(reach_all):
    assert sorted(reach_all.ask("resolve", "plain.test")[1:]) == sorted(ZONE["plain.test"])
    assert reach_all.ask("resolve", "nobody.test") == ["error", "NONAME"]
    assert "93.184.216.34" in reach_all.sh("nslookup plain.test")


def test_long_answers(reach_all):
    """Truncated over UDP, whole over TCP."""
    code, truncated, found = reach_all.dns(HOST4, "big.test")
    assert (code, truncated, found) == (0, True, [])
    assert reach_all.dns(HOST4, "big.test", transport="tcp") == (0, False, net.Resolver.BIG)


def test_resolver_that_does_not_answer(reach_all):
    assert reach_all.dns(HOST4, "dead.test") == (net.SERVFAIL, False, [])
    assert reach_all.dns(HOST4, "lame.test") == (net.SERVFAIL, False, [])
    assert reach_all.dns(HOST4, "slow.test") == (0, False, ["93.184.216.36"])
    assert reach_all.dns(HOST4, "plain.test")[0] == 0  # one that is silent holds nobody up


@pytest.mark.engine
@pytest.mark.parametrize("name,kind", [("rebind.test", "A"), ("meta.test", "A"), ("loop.test", "A"), ("loop.test", "AAAA")])
def test_answers_that_point_inside_are_withheld(restricted, name, kind):
    assert restricted.dns(POOL4, name, kind) == (net.NXDOMAIN, False, [])


# ---- published ports ----

@pytest.mark.engine
def test_published_tcp(reach_all, published):
    data = os.urandom(3000000)
    with socket.create_connection(("127.0.0.1", published["tcp"]), 30) as client:
        client.settimeout(30)
        received = bytearray()
        for at in range(0, len(data), 100000):
            client.sendall(data[at:at + 100000])
            while len(received) < at + 100000:
                received += client.recv(1 << 16)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert bytes(received) == data


@pytest.mark.engine
def test_published_udp(reach_all, published):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(30)
        client.connect(("127.0.0.1", published["udp"]))
        for size in (1, 1400, 20000):
            client.send(b"u" * size)
            assert client.recv(65536) == b"u" * size


def test_published_on_ipv6(reach_all, published):
    with socket.create_connection(("::1", published["tcp6"]), 30) as client:
        client.settimeout(30)
        client.sendall(b"six")
        assert client.recv(3) == b"six"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", published["tcp6"]), 30)


def test_published_but_denied(restricted, published):
    assert restricted.ask("serve", 7002) == ["ok"]
    try:
        with socket.create_connection(("127.0.0.1", published["denied"]), 30) as client:
            client.settimeout(30)
            assert client.recv(1) == b""
    except ConnectionResetError:
        pass
    restricted.running.wait_for(b"denied tcp from 127.0.0.1", name="err")


def test_published_but_not_served(reach_all, published):
    """The host's side may be taken before the guest could be asked; then it ends without a byte."""
    try:
        with socket.create_connection(("127.0.0.1", published["unserved"]), 30) as client:
            client.settimeout(30)
            assert client.recv(1) == b""
    except ConnectionResetError:
        pass


def test_published_port_that_is_taken(msb, busybox):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = msb.run("-p", f"{port}:80", busybox, "--", "true")
    assert result.code == 1 and str(port) in result.err and "error: " in result.err, result.err


# ---- what the guest is refused ----

@pytest.mark.engine
def test_refused_at_once_and_said_so(restricted, http4, http6, sink):
    """A refusal, not a timeout; the user reads rule and target."""
    assert restricted.sh(f"wget -q -O - http://{ALIAS}:{http4}/") == "hello from the host\n"
    assert restricted.talk("tcp", POOL4, sink) == "error ECONNREFUSED"
    restricted.running.wait_for(f"denied tcp to {POOL4}:{sink}".encode(), name="err")
    assert restricted.talk("tcp", HOST6, http6) == "error ECONNREFUSED"
    assert restricted.talk("tcp", "10.1.2.3", 80) == "error ECONNREFUSED"
    restricted.running.wait_for(b"denied tcp to 10.1.2.3:80", name="err")
    assert restricted.talk("tcp", "169.254.169.254", 80) == "error ECONNREFUSED"
    restricted.running.wait_for(b"denied tcp to 169.254.169.254:80", name="err")


def test_names_that_are_refused(restricted, resolver):
    assert restricted.dns(POOL4, "bad.test") == (net.NXDOMAIN, False, [])
    assert restricted.dns(POOL4, "www.bad.test", transport="tcp") == (net.NXDOMAIN, False, [])
    assert restricted.dns(POOL4, "plain.test")[0] == 0
    assert not {name for name, _ in resolver.asked} & {"bad.test", "www.bad.test"}  # they never left
    restricted.running.wait_for(b"bad.test", name="err")


def test_other_ways_to_ask_for_names(restricted):
    """DNS to other servers is held to the same rules; encrypted DNS is refused."""
    assert restricted.dns("93.184.216.34", "bad.test") == (net.NXDOMAIN, False, [])
    assert restricted.talk("tcp", "93.184.216.34", 853) == "error ECONNREFUSED"


@pytest.mark.engine
def test_no_network(msb, busybox, http4):
    """An interface, but nobody to talk to; loopback works."""
    result = msb.sh(busybox, f"wget -q -O - http://{ALIAS}:{http4}/ 2>&1; nslookup plain.test 2>&1 | grep -c NXDOMAIN; "
                    "httpd -p 8080 -h /etc && wget -q -O - http://127.0.0.1:8080/os-release | head -1", "--net", "none")
    lines = result.text.splitlines()
    assert "refused" in lines[0], result
    assert int(lines[1]) >= 1, result
    assert lines[-1] and result.code == 0, result
    assert "denied" in result.err


@pytest.mark.lab
@pytest.mark.engine
def test_a_small_round_trip(msb, busybox, http4):
    """Out by the host alias, in by a published port, in one boot with nothing but busybox."""
    port = net.free_port()
    script = (f"wget -q -O - http://{ALIAS}:{http4}/; httpd -p 80 -h /etc; echo ready; read line; "
              f"wget -q -O - http://{ALIAS}:1/ 2>&1")
    running = msb.start_run("--net", "host", "-p", f"{port}:80", busybox, "--", "sh", "-c", script)
    running.wait_for(b"ready\n")
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.settimeout(60)
        client.sendall(b"GET /os-release HTTP/1.0\r\n\r\n")
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    running.write(b"\n")
    result = running.wait()
    assert b"200 OK" in received and b"NAME" in received, received
    assert result.text.startswith("hello from the host\n") and "refused" in result.text, result


def test_several_at_once(msb, busybox, http4):
    """Each has the same addresses and none is in another's way."""
    ports = [net.free_port() for _ in range(3)]
    script = f"wget -q -O - http://{ALIAS}:{http4}/ && mkdir -p /tmp/$0 && echo $0 >/tmp/$0/me && httpd -p 80 -h /tmp/$0 && " \
        "echo ready && read line"
    guests = [msb.start_run("--net", "host", "-p", f"{port}:80", busybox, "--", "sh", "-c", script, port) for port in ports]
    for guest in guests:
        guest.wait_for(b"hello from the host\nready\n", 120)
    for port in ports:
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.settimeout(30)
            client.sendall(b"GET /me HTTP/1.0\r\n\r\n")
            received = b""
            while chunk := client.recv(65536):
                received += chunk
        assert received.endswith(b"%d\n" % port), received
    for guest in guests:
        guest.popen.stdin.close()
    for guest in guests:
        guest.wait()


class Repository(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):  # pylint: disable=arguments-differ
        pass


@pytest.mark.engine
def test_apt_from_the_host(msb, debian, tmp_path):
    """A package manager at work: index and package, checked by it, from a server on the host."""
    control = tmp_path / "package/DEBIAN/control"
    control.parent.mkdir(parents=True)
    control.write_text("Package: fixture\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\n"
                       "Description: fixture\n")
    (tmp_path / "package/usr/share/fixture").mkdir(parents=True)
    (tmp_path / "package/usr/share/fixture/data").write_bytes(os.urandom(300000))
    repository = tmp_path / "repository"
    repository.mkdir()
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", tmp_path / "package", repository / "fixture.deb"], check=True,
                   capture_output=True)
    package = (repository / "fixture.deb").read_bytes()
    (repository / "Packages").write_text(control.read_text() + f"Filename: ./fixture.deb\nSize: {len(package)}\n"
                                         f"SHA256: {hashlib.sha256(package).hexdigest()}\n")
    handler = functools.partial(Repository, directory=repository)
    with net.serving(net.Threads(("127.0.0.1", 0), handler)) as server:
        script = (f"echo 'deb [trusted=yes] http://{ALIAS}:{server.server_address[1]}/ ./' >/tmp/list; "
                  "apt='apt-get -y -q -o Dir::Etc::sourcelist=/tmp/list -o Dir::Etc::sourceparts=- -o Dir::State::Lists=/tmp/lists'; "
                  "mkdir -p /tmp/lists/partial; cd /tmp && $apt update && $apt download fixture && sha256sum fixture_*.deb; "
                  "rm -rf /tmp/*")
        result = msb.sh(debian, script, "--net", "host", seconds=180)
    assert hashlib.sha256(package).hexdigest() in result.text, result


# ---- without a guest ----

def show(msb, *options):
    result = msb.call("run", *options, "--net-show")
    assert (result.code, result.err) == (0, ""), result
    return json.loads(result.out)


def test_settings_as_json(msb, tmp_path):
    plain = show(msb)
    assert plain["policy"]["default_egress"] == "deny" and plain["policy"]["default_ingress"] == "allow"
    assert [rule["destination"] for rule in plain["policy"]["rules"]] == [{"group": "host"}, {"group": "public"}]
    (tmp_path / "net.yaml").write_text("allow: [pypi.org]\nports: ['8080:80']\n")
    filed = show(msb, "--net-conf", tmp_path / "net.yaml", "-p", "9:9/udp", "--proxy", "socks4://10.0.0.1:1080",
                 "--dns-nameserver", "Dns.example")
    assert [rule["destination"] for rule in filed["policy"]["rules"]] == [{"domain": "pypi.org"}]
    assert sorted(port["host_port"] for port in filed["ports"]) == [9, 8080]
    assert filed["dns"]["nameservers"] == ["dns.example:53"]  # looked up when there is a guest
    assert filed["outbound_proxy"] == {"address": "10.0.0.1:1080", "protocol": "socks4"}


def test_multi_tenant(msb):
    shown = show(msb, "--deployment-profile", "multi-tenant", "--net", "all", "-p", "80:80", "--max-tcp-connections", "0")
    assert shown["policy"]["default_egress"] == "allow" and shown["policy"]["rules"] == []
    assert shown["policy"]["platform"] == show(msb)["policy"]
    assert (shown["ports"], shown["max_connections"], shown["max_udp_connections"]) == ([], 1024, 1024)


@pytest.mark.parametrize("code,words,options", [
    (1, "invalid guest port: 99999", ["-p", "80:99999"]),
    (1, "invalid bind address", ["-p", "localhost:80:80"]),
    (1, "published twice", ["-p", "80:80", "-p", "80:81"]),
    (1, "unknown profile 'foo'", ["--net", "foo"]),
    (1, "stand alone", ["--net", "all,public"]),
    (1, "'allow'", ["--net-rule", "alow@public"]),
    (1, "domain=localhost", ["--net-rule", "allow@localhost"]),
    (1, "IPv4 network", ["--net-ipv4-pool", "10.0.0.0/31"]),
    (1, "a burst needs its rate", ["--net-egress-ops-burst", "5"]),
    (1, "zero", ["--net-ingress-bandwidth", "0"]),
    (1, "socks5://IP:PORT", ["--proxy", "http://10.0.0.1:1"]),
    (1, "'NOT_SET_HERE' not set", ["--proxy", "socks5://10.0.0.1:1", "--socks5-username", "u", "--socks5-password-env",
                                   "NOT_SET_HERE"]),
    (1, "/no/such/file", ["--net-conf", "/no/such/file"]),
    (2, "--no-net", ["--net", "public", "--no-net"]),
    (2, "'maybe'", ["--net-default", "maybe"]),
    (2, "need --proxy", ["--socks4-user-id", "u"]),
    (2, "connections", ["--max-tcp-connections", "many"]),
    (2, "--net-rule", ["--net-rul", "x"]),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_wrong_flags(msb, code, words, options):
    """Before anything else: that there is no such root is not even noticed."""
    result = msb.call("run", *options, "/no/such/root", "--", "true")
    assert result.code == code, result
    assert words in one_line_error(result)


def test_wrong_file(msb, tmp_path):
    (tmp_path / "net.yaml").write_text("allow: [pypi.org]\nalow: [x.org]\n")
    result = msb.call("run", "--net-conf", tmp_path / "net.yaml", "/no/such/root")
    assert result.code == 1 and "net.yaml: unknown field 'alow'" in one_line_error(result)
