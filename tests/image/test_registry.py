# SPDX-License-Identifier: Apache-2.0
"""Pulls from Debian's docker-registry, of images pushed by skopeo."""
import base64
import json
import random
import signal
import subprocess
import threading
import time

import pytest

import images
import servers
from images import Image, digest, noise, platform, tar, write_layout


@pytest.fixture(scope="module")
def small():
    return Image([tar({"etc/": b"", "etc/a": b"a"}), tar({"etc/b": b"b"})], Env=["A=b"], Cmd=["sh"], User="7",
                 WorkingDir="/w", Labels={"k": "v"})


def test_pull_and_cached(plain_registry, tool, small, tmp_path):
    servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", f"{plain_registry.host}/x/small:t",
                 "--dest-tls-verify=false")
    ref = f"{plain_registry.host}/x/small:t"
    image = tool.pull(ref).ok()
    assert not image["cached"]
    assert images.digest(image["raw_manifest"].encode()) == image["digest"]
    assert image["raw_config"].encode() == small.raw_config
    assert [l["diff_id"] for l in image["layers"]] == small.config["rootfs"]["diff_ids"]
    assert (image["env"], image["cmd"], image["user"], image["working_dir"]) == (["A=b"], ["sh"], "7", "/w")
    assert image["labels"] == ["k=v"]
    again = tool.pull(ref, "ca=/nonexistent")  # neither network nor certificates are looked at
    assert again.ok()["cached"]
    assert [l.split()[1] for l in again.err.splitlines()] == ["resolving", "resolved", "complete"]
    assert tool.run("open", ref).ok()["digest"] == image["digest"]
    assert tool.run("open", image["digest"]).ok()["digest"] == image["digest"]
    before = tool.content()
    assert tool.pull(ref, "policy=always").ok()["cached"]
    assert not tool.pull(ref, "force=1").ok()["cached"]
    assert tool.content() == before, "the same layers give the same files"
    assert not [f for f in tool.files() if f.startswith("tmp/")]


def test_never(tool):
    line = tool.run("pull", "policy=never", "alpine").error()
    assert line == "error: image not cached: docker.io/library/alpine:latest"


def test_multi_arch(plain_registry, tool, tmp_path):
    both = {"amd": Image([tar({"amd": b"1"})]), "arm": Image([tar({"arm": b"2"})], architecture="arm64")}
    layout = write_layout(tmp_path / "oci", both, top="all")
    ref = f"{plain_registry.host}/x/multi:t"
    servers.push(layout, "all", ref, "--dest-tls-verify=false", "--all")
    assert tool.pull(ref).ok()["digest"] == both["amd"].digest
    assert tool.pull(ref, "arch=arm64", "force=1").ok()["digest"] == both["arm"].digest
    line = tool.pull(ref, "arch=riscv64", "force=1").error()
    assert "no image for linux/riscv64" in line and "linux/amd64, linux/arm64" in line
    by_digest = f"{plain_registry.host}/x/multi@{both['arm'].digest}"
    assert "is for linux/arm64" in tool.pull(by_digest).error()


def test_docker_media_types(plain_registry, tool, small, tmp_path):
    ref = f"{plain_registry.host}/x/docker:t"
    servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", ref, "--dest-tls-verify=false", "--format=v2s2")
    image = tool.pull(ref).ok()
    assert json.loads(image["raw_manifest"])["mediaType"].startswith(images.DOCKER)
    assert image["layers"][0]["type"] == "application/vnd.docker.image.rootfs.diff.tar.gzip"


def test_zstd(plain_registry, tool, small, tmp_path):
    ref = f"{plain_registry.host}/x/zstd:t"
    servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", ref, "--dest-tls-verify=false",
                 "--dest-compress-format=zstd", "--dest-compress")
    image = tool.pull(ref).ok()
    assert [l["diff_id"] for l in image["layers"]] == small.config["rootfs"]["diff_ids"]


def test_missing(plain_registry, tool):
    assert tool.pull(f"{plain_registry.host}/x/nothing:t").error().endswith("has no image 't'")


def test_tls(tool, small, tmp_path):
    certs = servers.make_certificate(tmp_path / "certs")
    registry = servers.Registry(
        tmp_path / "registry",
        f"  tls:\n    certificate: {certs}/server.pem\n    key: {certs}/server.key\n").start()
    try:
        ref = f"{registry.host}/a:t"
        servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", ref, "--dest-tls-verify=false")
        line = tool.run("pull", "retry=20", ref).error()
        assert "not trusted" in line and "--ca-certs" in line
        (tmp_path / "empty.pem").write_text("nothing\n")
        for path in (tmp_path / "empty.pem", certs / "server.key"):
            done = tool.run("pull", f"ca={path}", ref)
            assert done.code == 1 and f"'{path}': there is no certificate" in done.err
        assert tool.run("pull", f"ca={certs}/ca.pem", ref).ok()["digest"]
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"registries": {"ca_certs": f"{certs}/ca.pem"}}))
        assert tool.run("pull", f"config={config}", "force=1", ref).ok()["digest"]
        with subprocess.Popen(["cat", certs / "ca.pem", certs / "server.pem"], stdout=subprocess.PIPE) as cat:
            pipe = cat.stdout.fileno()
            assert tool.run("pull", f"ca=/dev/fd/{pipe}", "force=1", ref, pass_fds=[pipe]).ok()["digest"]
        # in place of the system's certificates; others still come on top
        other = servers.make_certificate(tmp_path / "other")
        for bundle, ca, says in (("certs", None, None), ("other", "certs", None), ("other", None, "not trusted"),
                                 ("none", "certs", "SSL_CERT_FILE: open")):
            tool.env["SSL_CERT_FILE"] = str(tmp_path / bundle / "ca.pem")
            done = tool.run("pull", *([f"ca={tmp_path}/{ca}/ca.pem"] if ca else []), "retry=20", "force=1", ref)
            assert (done.code == 1 and says in done.err) if says else done.ok()["digest"]
        del tool.env["SSL_CERT_FILE"]
        # plain HTTP where TLS is spoken, and the reverse
        assert "400" in tool.pull(ref, "force=1").error()
    finally:
        registry.stop()


def test_plain_by_tls(plain_registry, tool):
    line = tool.run("pull", "retry=20", f"{plain_registry.host}/x/small:t").error()
    assert "does not speak TLS" in line and "--insecure" in line


def docker_config(tool, content):
    folder = tool.cache.parent / "home" / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))


def helper(tool, name, script):
    folder = tool.cache.parent / "bin"
    folder.mkdir(exist_ok=True)
    (folder / f"docker-credential-{name}").write_text(f"#!/bin/sh\n{script}\n")
    (folder / f"docker-credential-{name}").chmod(0o755)
    tool.env["PATH"] = f"{folder}:" + tool.env["PATH"]


@pytest.fixture(scope="module")
def basic(tmp_path_factory, small):
    folder = tmp_path_factory.mktemp("basic")
    with open(folder / "htpasswd", "wb") as out:
        subprocess.run(["htpasswd", "-Bbn", "user", "secret word"], check=True, stdout=out)
    registry = servers.Registry(folder, auth=f"auth:\n  htpasswd:\n    realm: r\n    path: {folder}/htpasswd\n").start()
    servers.push(write_layout(folder / "oci", {"t": small}), "t", f"{registry.host}/a:t", "--dest-tls-verify=false",
                 "--dest-creds=user:secret word")
    yield registry
    registry.stop()


def test_basic_flags(basic, tool):
    ref = f"{basic.host}/a:t"
    assert "wants credentials" in tool.pull(ref).error()
    line = tool.pull(ref, "user=user", "password=wrong").error()
    assert "refused access" in line and "wrong credentials" in line and "password" not in line
    assert tool.pull(ref, "user=user", "password=secret word").ok()


def test_basic_docker_file(basic, tool):
    docker_config(tool, {"auths": {f"https://{basic.host}/v1/": {"auth": base64.b64encode(b"user:secret word").decode()}}})
    assert tool.pull(f"{basic.host}/a:t").ok()


def test_basic_docker_helper(basic, tool):
    helper(tool, "mine", "read host; test \"$1 $host\" = \"get %s\" || exit 1\n"
           "echo '{\"Username\":\"user\",\"Secret\":\"secret word\"}'" % basic.host)
    docker_config(tool, {"credsStore": "none", "credHelpers": {basic.host: "mine"}})
    assert tool.pull(f"{basic.host}/a:t").ok()


def test_helper_that_fails(basic, plain_registry, tool):
    """A broken helper is no reason not to try without credentials."""
    docker_config(tool, {"credsStore": "absent"})
    done = tool.pull(f"{basic.host}/a:t")
    assert done.code == 1 and "docker-credential-absent" in done.err and "wants credentials" in done.err


def test_basic_settings(basic, tool, tmp_path):
    ref = f"{basic.host}/a:t"
    config = tmp_path / "config.json"

    def auth(**how):
        config.write_text(json.dumps({"registries": {"hosts": {basic.host: {"insecure": True, "auth": {
            "username": "user", **how}}}}}))
        return tool.run("pull", f"config={config}", "force=1", ref)
    assert "THE_PASSWORD, which is not set" in auth(password_env="THE_PASSWORD").error()
    tool.env["THE_PASSWORD"] = "secret word"
    assert auth(password_env="THE_PASSWORD").ok()
    secrets = tmp_path / "home" / "secrets" / "registries"
    secrets.mkdir(parents=True)
    (secrets / "mine").write_text("secret word\n")
    assert auth(secret_name="mine").ok()
    assert "no plain file name" in auth(secret_name="../mine").error()
    assert "exactly one" in auth().error()


def test_token(tool, small, tmp_path):
    service = servers.TokenService(tmp_path / "token")
    registry = servers.Registry(tmp_path / "registry", auth=service.auth_options()).start()
    try:
        ref = f"{registry.host}/a/b:t"
        servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", ref, "--dest-tls-verify=false",
                     "--dest-creds=user:secret word")
        assert "get a token" in tool.pull(ref).error()
        assert "get a token" in tool.pull(ref, "user=user", "password=wrong").error()
        service.requests.clear()
        assert tool.pull(ref, "user=user", "password=secret word").ok()
        assert len(service.requests) == 1, "a token is used until it expires"
        assert service.requests[0][0] == {"service": ["the-registry"], "scope": ["repository:a/b:pull"]}
    finally:
        service.stop()
        registry.stop()


def test_registry_comes_back(tool, small, tmp_path):
    registry = servers.Registry(tmp_path / "registry").start()
    servers.push(write_layout(tmp_path / "oci", {"t": small}), "t", f"{registry.host}/a:t", "--dest-tls-verify=false")
    registry.stop()
    line = tool.pull(f"{registry.host}/a:t", "attempts=2").error()
    assert "onnect" in line
    with subprocess.Popen(tool.command("pull", "insecure=1", "events=1", "retry=100", "attempts=20",
                                       f"{registry.host}/a:t"), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, env=tool.env) as pull:
        seen = [pull.stderr.readline()]
        while "retrying" not in seen[-1]:
            seen.append(pull.stderr.readline())
            assert seen[-1], seen
        registry.start()
        out, err = pull.communicate(timeout=60)
        registry.stop()
        assert pull.returncode == 0, err
        assert json.loads(out)["digest"]


def test_many_layers_at_once(plain_registry, tool, tmp_path):
    image = Image([tar({f"f{i}": noise(100000, i)}) for i in range(10)])
    ref = f"{plain_registry.host}/x/ten:t"
    servers.push(write_layout(tmp_path / "oci", {"t": image}), "t", ref, "--dest-tls-verify=false")
    with subprocess.Popen(tool.command("pull", "insecure=1", ref), stdout=subprocess.PIPE, env=tool.env) as other:
        done = tool.pull(ref)
        assert done.ok()["digest"] == image.digest
        out, _ = other.communicate(timeout=60)
    assert other.returncode == 0 and json.loads(out)["digest"] == image.digest
    assert len([f for f in tool.files() if f.startswith("layers/")]) == 10


def test_killed_and_resumed(plain_registry, tool, tmp_path):
    """Killed at points that come later and later; at last it ends right, with nothing left behind."""
    image = Image([tar({f"f{i}": noise(12 << 20, i)}) for i in range(3)])
    ref = f"{plain_registry.host}/x/large:t"
    servers.push(write_layout(tmp_path / "oci", {"t": image}), "t", ref, "--dest-tls-verify=false")
    chance = random.Random(1)
    for _ in range(6):
        with subprocess.Popen(tool.command("pull", "insecure=1", ref), stdout=subprocess.DEVNULL, env=tool.env) as pull:
            with_timer = threading.Timer(chance.uniform(0.02, 0.6), pull.send_signal, [signal.SIGKILL])
            with_timer.start()
            pull.wait(60)
            with_timer.cancel()
    assert tool.pull(ref).ok()["digest"] == image.digest
    assert not [f for f in tool.files() if f.startswith("tmp/")]
    killed = tool.content()
    for path in (tool.cache / "layers").glob("*.erofs"):
        subprocess.run(["fsck.erofs", path], check=True, capture_output=True)
    fresh = type(tool)(tool.binary, tmp_path / "fresh", tool.env)
    fresh.cache.mkdir()
    fresh.pull(ref).ok()
    assert fresh.content() == killed
    assert tool.run("collect").code == 0
    assert not tool.files()
