# SPDX-License-Identifier: Apache-2.0
"""Registries that fail, lie and stall: the right image or one clear line, and an unchanged cache."""
import json
import socket
import time

import pytest

import images
import servers
from images import OCI, Image, digest, dump, noise, platform, tar


@pytest.fixture(scope="module")
def image():
    return Image([tar({"a": noise(3 << 20)}), tar({"b": b"b"})])


def blob_path(image, n=0):
    return "/blobs/" + image.manifest["layers"][n]["digest"]


def cut_after(count, say=None):
    """Send so many bytes of what was asked for, then close the connection."""
    def answer(h, path):
        data = h.server.owner.blobs[path.rsplit("/", 1)[-1]]
        start = int((h.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        rest = data[start:]
        more = {"Content_Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        h.reply(206 if start else 200, rest[:count], Content_Length=str(say if say is not None else len(rest)), **more)
        h.close_connection = True
    return answer


def test_truncated_and_resumed(fake, tool, image):
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(900_000), times=3)
    assert tool.pull(ref, "attempts=2").ok()["digest"] == image.digest
    ranges = [headers.get("Range") for _, headers in fake.asked(blob_path(image))]
    assert ranges == [None, "bytes=900000-", "bytes=1800000-", "bytes=2700000-"]


def test_wrong_content_length(fake, tool, image):
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(1000, say=1000), times=1)
    assert tool.pull(ref).ok()


def test_always_truncated(fake, tool, image):
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(0, say=0))
    assert "ends the blob after 0 of" in tool.pull(ref, "attempts=3").error()


def test_ranges_ignored(fake, tool, image):
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(900_000), times=1)
    fake.hook(blob_path(image), lambda h, path: h.reply(200, fake.blobs[path.rsplit("/", 1)[-1]]))
    assert tool.pull(ref).ok()["digest"] == image.digest


def test_ranges_refused(fake, tool, image):
    """416 to what was interrupted in this very pull: once more from the start, and no more often than that."""
    def refuse(h, path):
        if not h.headers.get("Range"):
            return False
        h.reply(416)
        return True
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(900_000), times=1)
    fake.hook(blob_path(image), refuse)
    assert tool.pull(ref).ok()["digest"] == image.digest
    fake.hooks.clear()
    fake.hook(blob_path(image), refuse)
    fake.hook(blob_path(image), cut_after(900_000))
    assert "answered 416" in tool.pull(ref, "force=1").error()


def test_no_progress(fake, tool, image):
    """Without ranges the same bytes come again, however many: attempts are counted all the same."""
    def cut(h, path):
        data = fake.blobs[path.rsplit("/", 1)[-1]]
        h.reply(200, data[:900_000], Content_Length=str(len(data)))
        h.close_connection = True
    ref = fake.add(image)
    fake.hook(blob_path(image), cut)
    tool.pull(ref, "attempts=3", timeout=30).error()
    assert len(fake.asked(blob_path(image))) == 3


def test_other_range_than_asked(fake, tool, image):
    ref = fake.add(image)
    fake.hook(blob_path(image), cut_after(900_000), times=1)
    fake.hook(blob_path(image), lambda h, path: h.reply(206, b"x" * 10, Content_Range="bytes 5-14/3000000"))
    tool.pull(ref).error()
    assert not [f for f in tool.files() if "layers/" in f and image.config["rootfs"]["diff_ids"][0][7:] in f]


def part(tool, image, content):
    tmp = tool.cache / "tmp"
    tmp.mkdir(parents=True)
    (tmp / (image.manifest["layers"][0]["digest"].replace(":", "_") + ".part")).write_bytes(content)


@pytest.mark.parametrize("kind", ["good", "wrong", "complete", "complete-wrong", "too-long"])
def test_what_an_earlier_pull_left(fake, tool, image, kind):
    ref, blob = fake.add(image), image.layers[0]
    part(tool, image, {"good": blob[:1000], "wrong": b"x" * 1000, "complete": blob,
                       "complete-wrong": b"x" * len(blob), "too-long": blob + b"x"}[kind])
    assert tool.pull(ref).ok()["digest"] == image.digest
    starts = [headers.get("Range") for _, headers in fake.asked(blob_path(image))]
    assert starts == {"good": ["bytes=1000-"], "wrong": ["bytes=1000-", None], "complete": [],
                      "complete-wrong": [None], "too-long": [None]}[kind]
    assert not [f for f in tool.files() if f.startswith("tmp/")]


def stall(handler, path):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    handler.wfile.write(b"x" * 10)
    handler.wfile.flush()
    handler.server.owner.stopping.wait(60)
    handler.close_connection = True


@pytest.mark.parametrize("where", ["manifests", "blobs"])
def test_stall(fake, tool, image, where):
    ref = fake.add(image)
    fake.hook(f"/{where}/", stall)
    line = tool.pull(ref, "idle=1000", "attempts=1", timeout=30).error()
    assert "stalled" in line and "1 s" in line


def test_no_answer(tool):
    """A listener that accepts nothing: the connection is made and stays silent."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        line = tool.pull(f"127.0.0.1:{s.getsockname()[1]}/a:t", "idle=1000", "attempts=1", timeout=30).error()
    assert "stalled" in line


def test_wrong_bytes(fake, tool, image):
    ref = fake.add(image)
    wrong = bytearray(image.layers[0])
    wrong[len(wrong) // 2] ^= 1
    fake.blobs[image.manifest["layers"][0]["digest"]] = bytes(wrong)
    line = tool.pull(ref, "parallel=1").error()
    assert "other bytes than the manifest promises" in line and "layer 1" in line
    # What has come of the other layers may stay for the next try.
    names = (image.config["rootfs"]["diff_ids"][0][7:], image.manifest["layers"][0]["digest"][7:])
    assert not [f for f in tool.files() if f.endswith(".json") or any(name in f for name in names)]


def test_other_layer(fake, tool, image):
    """Well-formed, but not what was promised."""
    other = images.gzip.compress(tar({"evil": b"!"}))
    ref = fake.add(image)
    fake.blobs[image.manifest["layers"][0]["digest"]] = other.ljust(len(image.layers[0]), b"\0")
    assert "layer 1" in tool.pull(ref).error()


def test_too_many_bytes(fake, tool, image):
    ref = fake.add(image)
    fake.blobs[image.manifest["layers"][0]["digest"]] = image.layers[0] + b"more"
    assert "more than the" in tool.pull(ref).error()


def test_sha512(fake, tool):
    image = Image([tar({"a": b"a"})], algorithm="sha512")
    ref = fake.add(image)
    assert tool.pull(ref).ok()["layers"][0]["blob"].startswith("sha512:")
    fake.blobs[image.manifest["layers"][0]["digest"]] = images.gzip.compress(tar({"a": b"b"}))
    assert "layer 1" in tool.pull(ref, "force=1").error()


@pytest.mark.parametrize("part", ["manifests", "blobs/" + digest(Image([tar({"a": b"a"})]).raw_config)])
def test_documents_with_an_encoding(fake, tool, part):
    image = Image([tar({"a": b"a"})])
    ref = fake.add(image)
    plain = image.raw if part == "manifests" else image.raw_config
    fake.hook(part, lambda h, path: h.reply(200, images.gzip.compress(plain), Content_Encoding="x\x1b[31mgzip"), times=1)
    what = "manifest" if part == "manifests" else "configuration"
    line = tool.pull(ref).error()
    assert f"sent the {what} with the content encoding 'x?[31mgzip', which was not asked for" in line
    fake.hook(part, lambda h, path: h.reply(200, plain, Content_Encoding="gzip"))
    assert tool.pull(ref).ok()


def test_plain_and_multi_member(fake, tool):
    plain = Image([tar({"a": b"a" * 5000})], compress=lambda t: t)
    assert tool.pull(fake.add(plain, "p")).ok()
    members = Image([tar({"m": noise(50000)})],
                    compress=lambda t: images.gzip.compress(t[:7777]) + images.gzip.compress(t[7777:]))
    assert tool.pull(fake.add(members, "m")).ok()


def test_wrong_diff_id(fake, tool):
    image = Image([tar({"a": b"a"})])
    image.config["rootfs"]["diff_ids"][0] = digest(b"other")
    assert "uncompressed content" in tool.pull(fake.add(image.seal())).error()


def test_layer_count(fake, tool):
    image = Image([tar({"a": b"a"})])
    image.config["rootfs"]["diff_ids"].append(digest(b"other"))
    assert "config has 2 diff_ids but manifest has 1 layers" in tool.pull(fake.add(image.seal())).error()


def test_same_layer_twice(fake, tool):
    layer = tar({"a": b"a"})
    image = Image([layer, tar({"b": b"b"}), layer])
    assert len(tool.pull(fake.add(image)).ok()["layers"]) == 3
    assert len(fake.asked(blob_path(image))) == 1


@pytest.mark.parametrize("change, says", [
    ({"layers": []}, "no layers"),
    ({"schemaVersion": 1}, "schema 1"),
    ({"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}, "no container image"),
    ({"mediaType": "text/plain"}, "text/plain"),
    ({"layers": [{"mediaType": "application/x-evil", "size": 1, "digest": digest(b"")}]}, "application/x-evil"),
    ({"layers": [{"mediaType": OCI + "layer.v1.tar", "size": 1, "digest": "../../x"}]}, "digest"),
])
def test_bad_manifests(fake, tool, change, says):
    image = Image([tar({"a": b"a"})])
    manifest = {**image.manifest, **change}
    manifest["config"] = {**image.manifest["config"], **change.get("config", {})}
    fake.blobs.update(image.blobs())
    fake.add_manifest(dump(manifest), OCI + "manifest.v1+json", "t")
    assert says in tool.pull(f"{fake.host}/a/b:t").error()
    assert not [f for f in tool.files() if f.endswith((".erofs", ".json"))]


def test_manifest_digests(fake, tool, image):
    fake.add(image)
    line = tool.pull(f"{fake.host}/a/b@{digest(b'other')}").error()
    assert "has no image" in line
    fake.manifests[digest(b"other")] = fake.manifests["t"]
    assert "not what was asked for" in tool.pull(f"{fake.host}/a/b@{digest(b'other')}").error()
    fake.hook("/manifests/t", lambda h, path: h.reply(200, image.raw, Docker_Content_Digest=digest(b"x")))
    assert "not what was asked for" in tool.pull(f"{fake.host}/a/b:t").error()


def test_wrong_config(fake, tool, image):
    ref = fake.add(image)
    fake.blobs[image.manifest["config"]["digest"]] = image.raw_config[:-1] + b" "
    assert "not what was asked for" in tool.pull(ref).error()


def test_nested_indexes(fake, tool, image):
    ref = fake.add(image, "inner")
    inner = images.index(image.entry(**platform("amd64")))
    for depth in range(3):
        fake.add_manifest(inner, OCI + "index.v1+json", f"depth{depth}")
        inner = images.index({"mediaType": OCI + "index.v1+json", "size": len(inner), "digest": digest(inner),
                              **platform("amd64")})
    assert tool.pull(ref.replace("inner", "depth2")).ok()["digest"] == image.digest
    for depth in range(3, 20):
        fake.add_manifest(inner, OCI + "index.v1+json", f"depth{depth}")
        inner = images.index({"mediaType": OCI + "index.v1+json", "size": len(inner), "digest": digest(inner),
                              **platform("amd64")})
    assert "indexes" in tool.pull(ref.replace("inner", "depth19")).error()


def test_endless_manifest(fake, tool):
    def endless(h, path):
        h.send_response(200)
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        while not fake.stopping.is_set():
            h.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
    fake.hook("/manifests/", endless)
    assert "more than the 4194304 bytes" in tool.pull(f"{fake.host}/a/b:t").error()


def test_busy_registry(fake, tool, image):
    ref = fake.add(image)
    fake.hook("/manifests/", lambda h, path: h.reply(429, b"", Retry_After="1"), times=1)
    fake.hook("/blobs/", lambda h, path: h.reply(503, b""), times=2)
    start = time.monotonic()
    done = tool.pull(ref)
    assert done.ok() and done.err.count("event retrying") == 3
    assert time.monotonic() - start >= 1, "Retry-After is heeded"


def test_broken_registry(fake, tool):
    fake.hook("/", lambda h, path: h.reply(500, b'{"errors":[{"message":"it \\u001b[31mhurts"}]}'))
    line = tool.pull(f"{fake.host}/a/b:t", "attempts=3").error()
    assert "answered 500" in line and "hurts" in line and "\x1b" not in line
    assert len(fake.requests) == 3


def test_garbage(fake, tool):
    fake.hook("/", lambda h, path: h.wfile.write(b"\0\1\2 not HTTP\r\n\r\n"))
    tool.pull(f"{fake.host}/a/b:t", "attempts=2").error()


# --- redirects and credentials


@pytest.fixture
def other():
    registry = servers.FakeRegistry()
    yield registry
    registry.stop()


def test_redirect_without_credentials(fake, other, tool, image):
    def guarded(h, path):
        if h.headers.get("Authorization") == "Basic dTpw":
            return False
        h.reply(401, b"", WWW_Authenticate='Basic realm="x"')
        return True
    ref = fake.add(image)
    other.add(image)
    fake.hook("/v2/", guarded)
    fake.hook("/blobs/", lambda h, path: h.reply(307, b"", Location=f"http://{other.host}{path}?sig=1"))
    assert tool.pull(ref, "user=u", "password=p").ok()
    assert other.requests and not [h for _, h in other.requests if "Authorization" in h]


def test_refused_where_it_redirects_to(fake, other, tool, image):
    """Who said no is named, without the password that was in the URL."""
    ref = fake.add(image)
    fake.hook("/blobs/", lambda h, path: h.reply(307, b"", Location=f"http://joe:hidden@{other.host}{path}"))
    for status in (401, 403, 429):
        other.hooks.clear()
        other.hook("/blobs/", lambda h, path, status=status: h.reply(status, b"expired"))
        line = tool.pull(ref, "attempts=1").error()
        assert f"http://{other.host} (where {fake.host} redirects to) answered {status}" in line and "hidden" not in line
    dead = servers.free_port()
    fake.hooks.clear()
    fake.hook("/blobs/", lambda h, path: h.reply(307, b"", Location=f"http://joe:hidden@127.0.0.1:{dead}/"))
    line = tool.pull(ref, "attempts=1").error()
    assert f"http://127.0.0.1:{dead}: " in line and "hidden" not in line


def test_private_redirect(fake, other, tool, image):
    """A registry of one's own may redirect to such a host, also on a connection that was there already."""
    ref = fake.add(image)
    other.add(image)
    fake.hook("/blobs/", lambda h, path: h.reply(307, b"", Location=f"http://{other.host}{path}"))
    assert tool.pull(ref, "attempts=1").ok()


def test_relative_redirect(fake, tool, image):
    ref = fake.add(image)
    fake.hook("/manifests/t", lambda h, path: h.reply(302, b"", Location="./" + image.digest))
    assert tool.pull(ref).ok()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/", "", "http://[", "//"])
def test_redirect_elsewhere(fake, tool, target):
    fake.hook("/", lambda h, path: h.reply(302, b"", Location=target))
    assert "not allowed" in tool.pull(f"{fake.host}/a/b:t").error()


def test_redirect_with_a_hostile_target(fake, tool):
    """What a registry says does not reach a terminal as it is, and not at length."""
    fake.hook("/", lambda h, path: h.reply(302, b"", Location="x:\x1b]0;evil\x07\x9b2J" + "A" * 4000))
    line = tool.pull(f"{fake.host}/a/b:t").error()
    assert "not allowed" in line and len(line) < 300
    assert line.isprintable()


def test_redirect_loop(fake, tool):
    fake.hook("/", lambda h, path: h.reply(302, b"", Location=path + "x"))
    assert "redirects without end" in tool.pull(f"{fake.host}/a/b:t").error()
    assert len(fake.requests) == 11


def tokens(fake, reply, status=200, realm=None):
    fake.hook("/token", lambda h, path: h.reply(status, reply))
    fake.hook("/v2/", lambda h, path: False if h.headers.get("Authorization") == "Bearer good" else h.reply(
        401, b"", WWW_Authenticate=f'Bearer realm="{realm or "http://" + fake.host + "/token"}",service="s"'))


def test_token_expires(fake, tool, image):
    ref = fake.add(image)
    tokens(fake, dump({"access_token": "good", "expires_in": 1}))
    fake.hook("/blobs/", lambda h, path: h.reply(401, b"", WWW_Authenticate='Bearer realm="http://%s/token"' %
                                                 fake.host), times=1)
    assert tool.pull(ref).ok()
    assert len(fake.asked("/token")) >= 2


@pytest.mark.parametrize("reply", [b"", b"{}", b"[]", dump({"token": "a\r\nX: y"}), dump({"token": "a b"}),
                                   dump({"token": 5}), b"{" * 300000])
def test_bad_tokens(fake, tool, image, reply):
    ref = fake.add(image)
    tokens(fake, reply)
    assert "token" in tool.pull(ref).error()


def test_token_refused(fake, tool, image):
    ref = fake.add(image)
    tokens(fake, dump({"token": "bad"}))
    assert "refused access" in tool.pull(ref).error()


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "nonsense", "ftp://127.0.0.1/"])
def test_bad_realm(fake, tool, image, realm):
    ref = fake.add(image)
    tokens(fake, b"", realm=realm)
    assert "token" in tool.pull(ref).error()


def test_unknown_scheme(fake, tool):
    fake.hook("/", lambda h, path: h.reply(401, b"", WWW_Authenticate="Negotiate abc"))
    assert "unknown kind" in tool.pull(f"{fake.host}/a/b:t").error()


def test_identity_token(fake, tool, image):
    ref = fake.add(image)
    tokens(fake, dump({"access_token": "good"}))
    folder = tool.cache.parent / "home" / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {fake.host: {"identitytoken": "idtok"}}}))
    assert tool.pull(ref).ok()


# --- mirrors


def test_mirror(fake, other, tool, image, tmp_path):
    origin, mirror = fake, other
    ref = origin.add(image)
    mirror.add(image)
    config = tmp_path / "config.json"
    dead = servers.free_port()
    config.write_text(json.dumps({"registries": {"hosts": {
        origin.host: {"insecure": True, "mirrors": [f"127.0.0.1:{dead}", mirror.host]},
        mirror.host: {"insecure": True}, f"127.0.0.1:{dead}": {"insecure": True}}}}))
    assert tool.pull(ref, f"config={config}", "attempts=2").ok()
    assert mirror.requests and not origin.requests
    # what the mirror has not got, or has got wrong, comes from the registry
    mirror.blobs.pop(image.manifest["layers"][0]["digest"])
    assert tool.pull(ref, f"config={config}", "attempts=2", "force=1").ok()
    assert origin.asked(blob_path(image))
