# SPDX-License-Identifier: Apache-2.0
"""What lies between us and an image: TLS, proxies, credentials, and registries that try to get at more than is theirs."""
import base64
import email.utils
import gzip
import json
import subprocess
import time

import pytest

import servers
from images import Image, digest, dump, noise, tar


@pytest.fixture(scope="module")
def image():
    return Image([tar({"a": noise(300_000)}), tar({"b": b"b"})])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return servers.make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def secure(certificates):
    registry = servers.FakeRegistry(tls=certificates)
    yield registry
    registry.stop()


@pytest.fixture
def other():
    registry = servers.FakeRegistry()
    yield registry
    registry.stop()


def port_of(registry):
    return "127.0.0.1", registry.server.server_address[1]


def redirect(target, times=None):
    return lambda h, path: h.reply(307, b"", Location=target + path)


def wants(answer, *, shows="Basic dTpw"):
    """A hook: 401 with this challenge for who does not show that."""
    def guard(h, path):
        if h.headers.get("Authorization") == shows:
            return False
        h.reply(401, b"", WWW_Authenticate=answer)
        return True
    return guard


# --- TLS


def test_authorities_in_one_file(secure, certificates, tool, image, tmp_path):
    """A bundle has several and text between them; what is none is named, with the file it is in."""
    ref = secure.add(image)
    stranger = servers.make_certificate(tmp_path / "stranger")
    authorities = [(folder / "ca.pem").read_text() for folder in (stranger, certificates)]
    bundle = tool.cache / "bundle.pem"
    bundle.write_text("of a stranger:\n" + authorities[0] + "\nours:\n" + authorities[1] + "end\n")
    assert tool.run("pull", f"ca={bundle}", ref).ok()
    assert "not trusted" in tool.run("pull", "force=1", f"ca={stranger}/ca.pem", ref).err
    bundle.write_text(authorities[0] + authorities[1].replace("\n", "\nA", 2))
    line = tool.run("pull", "force=1", f"ca={bundle}", ref).err
    assert "bundle.pem': certificate 2 cannot be read" in line and line.count("\n") == 1


def test_no_way_down_from_tls(secure, other, certificates, tool, image):
    """Neither a redirect nor a token service may be asked in the clear."""
    ref, ca = secure.add(image), f"ca={certificates}/ca.pem"
    other.add(image)
    secure.hook("/blobs/", redirect(f"http://{other.host}"), times=1)
    line = tool.run("pull", ca, "user=u", "password=p", ref).error()
    assert f"redirects to 'http://{other.host}" in line and "not allowed" in line
    secure.hooks.clear()
    secure.hook("/v2/", wants(f'Bearer realm="http://{other.host}/token"'))
    line = tool.run("pull", ca, "user=u", "password=p", ref).error()
    assert "get a token" in line and f"http://{other.host}" in line
    assert not other.requests


# --- proxies


@pytest.fixture
def proxy(fake):
    server = servers.Proxy({"registry.test": port_of(fake)})
    yield server
    server.stop()


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_proxy(fake, proxy, tool, image, name):
    fake.add(image)
    tool.env[name] = proxy.url
    assert tool.pull("registry.test/a/b:t").ok()["digest"] == image.digest
    assert proxy.asked[0] == "GET http://registry.test/v2/a/b/manifests/t HTTP/1.1"


def test_proxy_for_tls(secure, certificates, tool, image):
    """CONNECT, and the certificate is that of the registry: the proxy cannot read along."""
    secure.add(image)
    proxy = servers.Proxy({"registry.test:443": port_of(secure)})
    tool.env["https_proxy"] = proxy.url
    line = tool.run("pull", f"ca={certificates}/ca.pem", "attempts=1", "registry.test/a/b:t").error()
    assert proxy.asked[0].startswith("CONNECT registry.test:443 ")
    assert "https://registry.test has a certificate that is not trusted here" in line
    assert not secure.requests
    proxy.stop()


def test_proxy_with_credentials(fake, proxy, tool, image):
    """They go to the proxy alone, and into no message."""
    fake.add(image)
    proxy.user = "me:pass word"
    tool.env["http_proxy"] = proxy.url.replace("//", "//me:pass%20word@")
    assert tool.pull("registry.test/a/b:t").ok()
    assert not [h for _, h in fake.requests if "Proxy-Authorization" in h]
    tool.env["http_proxy"] = proxy.url.replace("//", "//me:hunter2@")
    asked = len(proxy.asked)
    line = tool.pull("registry.test/a/b:t", "force=1").error()
    assert "the proxy on the way wants other credentials" in line and "hunter2" not in line
    assert len(proxy.asked) == asked + 1, "asking again would not help"
    tool.env["https_proxy"] = tool.env["http_proxy"]
    assert "wants other credentials" in tool.run("pull", "retry=20", "force=1", "registry.test/a/b:t").error()


@pytest.mark.parametrize("url, says", [
    ("http://me:hunter2@[", "no proxy's URL"),
    ("gopher://me:hunter2@127.0.0.1:1", "no proxy's URL"),
    ("http://me:hunter2@nowhere.invalid:1", "nowhere.invalid"),
    ("http://me:hunter2@127.0.0.1:1", "127.0.0.1 port 1"),
])
def test_no_proxy_there(tool, url, says):
    tool.env["http_proxy"] = url
    line = tool.pull("registry.test/a/b:t", "attempts=2").error()
    assert says in line and "hunter2" not in line


def test_proxy_that_refuses(tool, image):
    for status, attempts in (("403 Forbidden", 1), ("502 Bad Gateway", 2)):
        proxy = servers.Proxy({}, status=status)
        tool.env["https_proxy"] = proxy.url
        line = tool.run("pull", "retry=20", "attempts=2", "registry.test/a/b:t").error()
        assert f"the proxy on the way answered {status[:3]}" in line
        assert len(proxy.asked) == attempts
        proxy.stop()


@pytest.mark.parametrize("direct", ["", "registry.test", "*"])
def test_not_by_proxy(fake, proxy, tool, image, direct):
    """This machine itself is never behind a proxy; NO_PROXY says what else is not."""
    ref = fake.add(image)
    tool.env.update(http_proxy=proxy.url, NO_PROXY=direct)
    assert tool.pull(ref).ok()
    if direct:
        assert "resolve" in tool.pull("registry.test/a/b:t").error()
    assert not proxy.asked


# --- addresses


@pytest.fixture
def public():
    """A registry with a public address, in a network without any other host."""
    with servers.network_of_its_own("11.1.1.1/32", "11.1.1.2/32", "10.1.1.1/32"):
        registry = servers.FakeRegistry("11.1.1.1")
        yield registry
        registry.stop()


@pytest.mark.parametrize("address", ["10.1.1.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
def test_public_to_private(public, tool, image, address):
    """The services of our own networks are not a public registry's business, however it writes their address."""
    ref = public.add(image)
    inside = servers.FakeRegistry("10.1.1.1" if address == "10.1.1.1" else "127.0.0.1")
    inside.add(image)
    port = inside.server.server_address[1]
    public.hook("/blobs/", redirect(f"http://{address}:{port}"), times=1)
    line = tool.pull(ref, "attempts=1").error()
    assert "own networks" in line and "must not redirect" in line
    public.hooks.clear()
    public.hook("/v2/", wants(f'Bearer realm="http://{address}:{port}/token"'))
    assert "own networks" in tool.pull(ref, "attempts=1", "user=u", "password=p").error()
    assert not inside.requests
    inside.stop()


def test_public_to_public(public, tool, image):
    """That is how the large registries serve their blobs."""
    ref = public.add(image)
    storage = servers.FakeRegistry("11.1.1.2")
    storage.add(image)
    public.hook("/v2/", wants('Basic realm="r"'))
    public.hook("/blobs/", redirect(f"http://{storage.host}"))
    assert tool.pull(ref, "attempts=1", "user=u", "password=p").ok()
    assert storage.requests and not [h for _, h in storage.requests if "Authorization" in h]
    storage.stop()


# --- credentials


def docker_config(tool, content):
    folder = tool.cache.parent / "home" / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(content if isinstance(content, str) else json.dumps(content))


def helper(tool, name, script):
    folder = tool.cache.parent / "bin"
    folder.mkdir(exist_ok=True)
    (folder / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{script}\n")
    (folder / f"docker-credential-{name}").chmod(0o755)
    if not tool.env["PATH"].startswith(str(folder)):
        tool.env["PATH"] = f"{folder}:" + tool.env["PATH"]


def says(user, secret):
    return "cat >/dev/null; echo '%s'" % json.dumps({"Username": user, "Secret": secret})


def encoded(text):
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def guarded(fake, image):
    """Wants Basic credentials u:p."""
    fake.ref = fake.add(image)
    fake.hook("/v2/", wants('Basic realm="r"'))
    return fake


def test_order_of_credentials(guarded, tool, tmp_path):
    """This pull's, config.json's, the host's helper, the general helper, the file itself."""
    helper(tool, "right", says("u", "p"))
    helper(tool, "wrong", says("u", "from-helper"))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"registries": {"hosts": {guarded.host: {
        "insecure": True, "auth": {"username": "u", "password_env": "PASSWORD"}}}}}))
    tool.env["PASSWORD"] = "p"
    wrong = {"credsStore": "wrong", "auths": {guarded.host: encoded("u:from-file")}}
    docker_config(tool, wrong)
    assert tool.pull(guarded.ref, f"config={config}").ok()
    line = tool.pull(guarded.ref, f"config={config}", "user=u", "password=from-flag", "force=1").error()
    assert "wrong credentials" in line
    docker_config(tool, {**wrong, "credHelpers": {guarded.host: "right"}})
    assert tool.pull(guarded.ref, "force=1").ok()
    docker_config(tool, {"credsStore": "right", "auths": {guarded.host: encoded("u:from-file")}})
    assert tool.pull(guarded.ref, "force=1").ok()
    docker_config(tool, {"credHelpers": {"elsewhere.test": "wrong"}, "auths": {guarded.host: encoded("u:p")}})
    assert tool.pull(guarded.ref, "force=1").ok()


def test_helper_that_has_none(guarded, tool):
    """Then what the file itself says counts, without a word."""
    helper(tool, "none", "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1")
    docker_config(tool, {"credsStore": "none", "auths": {guarded.host: encoded("u:p")}})
    done = tool.run("pull", "insecure=1", guarded.ref)
    assert done.ok() and done.err == ""


@pytest.mark.parametrize("script, says", [
    ("cat >/dev/null; echo 'the vault is locked'; exit 2", "exit code 2: the vault is locked"),
    ("exec yes '\\033[31m' 2>/dev/null", "wrote more than 65536 bytes"),
    ("echo '{'", "not valid JSON"),
    ("kill -9 $$", "exit code 137"),
    ("exit 3", "exit code 3"),
])
def test_hostile_helper(guarded, tool, script, says):
    """It ends in a warning that names it, and what it would have guarded in one line."""
    helper(tool, "bad", script)
    docker_config(tool, {"credsStore": "bad"})
    done = tool.run("pull", "insecure=1", guarded.ref)
    assert done.code == 1
    warning, error = done.err.splitlines()
    assert "bad" in warning or "credential helper" in warning
    assert says in warning and "\x1b" not in warning
    assert "wants credentials" in error


@pytest.mark.parametrize("content, says", [
    ("{", "Docker's configuration file"), ("[]", "Docker's configuration file"),
    ('{"auths":{"HOST":{"auth":"%%%"}}}', "malformed credentials"),
    ('{"credsStore":"../../bin/sh"}', "no valid credential helper"),
    ('{"auths":' + '{"a":' * 5000, "Docker's configuration file"),
])
def test_broken_docker_file(guarded, tool, content, says):
    docker_config(tool, content.replace("HOST", guarded.host))
    done = tool.run("pull", "insecure=1", guarded.ref)
    warning, error = done.err.splitlines()
    assert done.code == 1 and says in warning and "wants credentials" in error


def test_identity_token_of_a_helper(fake, tool, image):
    """An OAuth2 refresh token: exchanged by POST, where it is in no URL."""
    ref = fake.add(image)
    bodies = []

    def token(h, path):
        bodies.append(h.rfile.read(int(h.headers["Content-Length"])).decode())
        h.reply(200, dump({"access_token": "good"}))
    fake.hook("/token", token)
    fake.hook("/v2/", wants(f'Bearer realm="http://{fake.host}/token",service="s"', shows="Bearer good"))
    helper(tool, "id", says("<token>", "the refresh token"))
    docker_config(tool, {"credHelpers": {fake.host: "id"}})
    assert tool.pull(ref).ok()
    assert "grant_type=refresh_token" in bodies[0] and "refresh_token=the%20refresh%20token" in bodies[0]
    assert fake.asked("/token")[0][0] == "/token"


def test_no_token_service(fake, tool, image):
    """What is not there is the service, not the image."""
    ref = fake.add(image)
    fake.hook("/v2/", wants(f'Bearer realm="http://{fake.host}/nothing",service="s"', shows="Bearer good"))
    line = tool.pull(ref, "user=u", "password=p").error()
    assert "get a token" in line and "answered 404" in line and "has no image" not in line


def test_token_expires_within_a_layer(fake, tool, image):
    """The connection breaks, the token is over when it is taken up again: a new one, from the byte where it broke."""
    ref, names = fake.add(image), iter(["first", "second", "third"])
    valid = [None]

    def token(h, path):
        valid[0] = next(names)
        h.reply(200, dump({"token": valid[0], "expires_in": 300}))

    def guard(h, path):
        if h.headers.get("Authorization") == f"Bearer {valid[0]}":
            return False
        h.reply(401, b"", WWW_Authenticate=f'Bearer realm="http://{fake.host}/token",service="s"')
        return True

    def cut(h, path):
        data = image.layers[0]
        h.reply(200, data[:100_000], Content_Length=str(len(data)))
        h.close_connection = True
        valid[0] = "expired"
    fake.hook("/token", token)
    fake.hook("/v2/", guard)
    blob = image.manifest["layers"][0]["digest"]
    fake.hook(blob, cut, times=1)
    assert tool.pull(ref, "parallel=1").ok()["digest"] == image.digest
    assert [h.get("Range") for _, h in fake.asked(blob)] == [None, "bytes=100000-", "bytes=100000-"]
    assert len(fake.asked("/token")) == 2


# --- patience


def test_a_byte_now_and_then(fake, tool, image):
    """It is never silent, and would take a year."""
    ref = fake.add(image)

    def drip(h, path):
        h.send_response(200)
        h.send_header("Content-Length", "1000000")
        h.end_headers()
        while not fake.stopping.wait(0.1):
            h.wfile.write(b"x")
    fake.hook("/blobs/", drip)
    assert "stalled" in tool.pull(ref, "idle=1000", "attempts=1", timeout=30).error()


def test_headers_that_never_end(fake, tool):
    def drip(h, path):
        h.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not fake.stopping.wait(0.1):
            h.wfile.write(b"X-A: b\r\n")
    fake.hook("/", drip)
    assert "stalled" in tool.pull(f"{fake.host}/a/b:t", "idle=1000", "attempts=1", timeout=30).error()


def test_huge_headers(fake, tool):
    def flood(h, path):
        h.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not fake.stopping.is_set():
            h.wfile.write(b"X-A: " + b"b" * 60000 + b"\r\n")
    fake.hook("/", flood)
    tool.pull(f"{fake.host}/a/b:t", "attempts=1", timeout=30).error()


def test_retry_after_a_date(fake, tool, image):
    ref = fake.add(image)
    when = email.utils.formatdate(time.time() + 2, usegmt=True)
    fake.hook("/manifests/", lambda h, path: h.reply(503, b"", Retry_After=when), times=1)
    start = time.time()
    assert tool.pull(ref).ok()
    assert time.time() - start >= 0.9, "dates have whole seconds"


def test_retry_after_too_long(fake, tool):
    """Nobody waits for an hour: the line says when it would be of use."""
    fake.hook("/", lambda h, path: h.reply(429, b'{"errors":[{"message":"toomanyrequests: slow down"}]}',
                                           Retry_After="3600"))
    line = tool.pull(f"{fake.host}/a/b:t").error()
    assert "answered 429" in line and "slow down" in line and "3600 s" in line
    assert len(fake.requests) == 1


# --- documents


def test_foreign_layers(fake, tool, image):
    """Their URLs are not followed: the registry has them, or nobody."""
    foreign = Image([tar({"a": b"a"})])
    layer = foreign.manifest["layers"][0]
    layer["mediaType"] = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
    layer["urls"] = [f"http://{fake.host}/elsewhere"]
    ref = fake.add(foreign.seal())
    done = tool.pull(ref)
    assert done.code in (0, 1) and not fake.asked("/elsewhere")
    if done.code:
        assert "nondistributable" in done.error()


def test_manifest_size_limit(fake, tool, image):
    big = Image([tar({"a": b"a"})])
    big.manifest["annotations"] = {"x": "y" * (5 << 20)}
    assert "more than the 4194304 bytes" in tool.pull(fake.add(big.seal())).error()


def test_config_of_another_size(fake, tool, image):
    """The manifest says how long it is, and no byte more is taken."""
    liar = Image([tar({"a": b"a"})])
    ref = fake.add(liar)
    fake.blobs[liar.manifest["config"]["digest"]] = liar.raw_config + b" " * 1000
    assert "more than the" in tool.pull(ref).error()


def zstd(data, level=3):
    return subprocess.run(["zstd", f"-{level}", "-c"], input=data, capture_output=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("compress", [gzip.compress, zstd])
def test_bomb(fake, tool, compress):
    """Gigabytes of zeros from a few megabytes, members and frames in a row, end at a limit; the cache is as it was."""
    header = bytearray(tar({"big": b""})[:512])
    header[124:136] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    bomb = Image([tar({"a": b"a"})])
    blob = compress(bytes(header)) + compress(bytes(64 << 20)) * 130
    bomb.manifest["layers"][0].update(size=len(blob), digest=digest(blob))
    ref = fake.add(bomb.seal())
    fake.blobs[digest(blob)] = blob
    assert "layer 1" in tool.pull(ref, timeout=100).error()
    assert not [f for f in tool.files() if f.endswith((".erofs", ".json"))]
