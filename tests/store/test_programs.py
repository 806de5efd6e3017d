# SPDX-License-Identifier: Apache-2.0
"""msb and msb-image: what is in which, and how the one runs the other. No machine is started."""
import contextlib
import pathlib
import shutil
import signal
import socket
import subprocess
import threading

import pytest

from conftest import DEADLINE, MSB, archive, images, layer, trust


def silent(arrived, gone):
    """For registry(): takes a request and says nothing until the client is gone."""
    def hold(connection):
        with connection:
            connection.settimeout(DEADLINE)
            connection.recv(65536)
            arrived.set()
            with contextlib.suppress(ConnectionError):
                while connection.recv(65536):
                    pass
            gone.set()
    return hold


@contextlib.contextmanager
def registry(home, answer):
    """A server on loopback that config.json knows as a plain HTTP one; answer(connection) per connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        trust(home, host)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    answer(server.accept()[0])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield host
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def refuse(connection):
    with connection:
        connection.settimeout(DEADLINE)
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.fixture
def alone(tmp_path):
    """msb without the program that belongs beside it."""
    folder = tmp_path / "alone"
    folder.mkdir()
    return pathlib.Path(shutil.copy2(MSB, folder))


def run_alone(alone, home, *args):
    return subprocess.run([alone, *map(str, args)], env=home.env, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=DEADLINE, check=False)


def test_what_msb_loads():
    needed = subprocess.run(["readelf", "-d", MSB], capture_output=True, text=True, check=True).stdout
    for library in ("libcurl", "libssl", "libcrypto", "libisal"):
        assert library not in needed


@pytest.mark.parametrize("args", [["pull", "--help"], ["image", "load", "-h"], ["save", "--help"]])
def test_help_comes_from_there(home, args):
    text = home.ok(*args)
    assert f"Usage: msb {args[-2]} [OPTIONS]" in text and "Options:" in text


def test_wrong_usage_is_told_as_ever(home):
    done = home.run("image", "pull")
    assert (done.returncode, done.stderr) == (
        2, "error: missing argument: REFERENCE\nFor more, see 'msb pull --help'.\n")


@pytest.mark.parametrize("args", [["pull", "x"], ["image", "save", "x"], ["load", "--help"], ["run", "x"],
                                  ["run", "--pull", "always", "x"]])
def test_missing_program(home, alone, args):
    done = run_alone(alone, home, *args)
    assert done.returncode == 1
    path = alone.parent / "msb-image"
    assert done.stderr == f"error: start '{path}', which belongs to msb: No such file or directory\n"


def test_cached_images_do_not_need_it(home, alone, tmp_path):
    home.ok("load", "-q", "-i", archive(tmp_path / "a.tar", ["local/a:1"], layer({"f": b"x"})))
    for policy in ("if-missing", "never"):
        done = run_alone(alone, home, "run", "--pull", policy, "--kernel", "/nowhere", "local/a:1", "--", "true")
        assert done.returncode == 1 and "/nowhere" in done.stderr
    done = run_alone(alone, home, "run", "--pull", "never", "nope", "--", "true")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: image not cached: ")


def test_a_lost_merge_costs_no_download(home, tmp_path):
    """A merged image that is gone or that is not of these files is made again, even by a run that may not pull."""
    home.ok("load", "-q", "-i", archive(tmp_path / "a.tar", ["local/a:1"], layer({"f": b"x"})))
    merged, = (home.path / "cache/fsmeta").glob("*.erofs")
    before = merged.read_bytes()
    for spoil in (merged.unlink, lambda: merged.write_bytes(before[:1152] + bytes(64) + before[1216:])):
        spoil()
        done = home.run("run", "--pull", "never", "--kernel", "/nowhere", "local/a:1", "--", "true")
        assert done.returncode == 1 and "/nowhere" in done.stderr
        assert merged.read_bytes() == before


@pytest.mark.parametrize("policy", ["if-missing", "always"])
def test_pull_of_a_run(home, policy):
    """The image is in the cache and in the catalogue; what then fails is the kernel."""
    with images(home) as host:
        for _ in range(2):
            done = home.run("run", "--pull", policy, "--kernel", "/nowhere", f"{host}/a:1", "--", "true")
            assert done.returncode == 1 and "/nowhere" in done.stderr
        assert [image["reference"] for image in home.json("image", "list")] == [f"{host}/a:1"]


def test_failed_pull_of_a_run_is_one_line(home, tmp_path):
    with registry(home, refuse) as host:
        (tmp_path / host).mkdir()
        done = home.run("run", f"{host}/a:1", "--", "true", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith(f"error: pull {host}/a:1: ")
        (tmp_path / host / "a:1").mkdir()
        done = home.run("run", f"{host}/a:1", "--", "true", cwd=tmp_path)
        assert done.stderr.endswith(f"; for the folder of that name write './{host}/a:1'\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_pull_of_a_run_ends_with_it(home, number):
    arrived, gone = threading.Event(), threading.Event()
    with registry(home, silent(arrived, gone)) as host:
        # A test run in the background of a shell ignores SIGINT, and so would msb.
        running = home.start("run", f"{host}/a:1", "--", "true",
                             preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        assert arrived.wait(DEADLINE)
        running.send_signal(number)
        running.communicate(timeout=DEADLINE)
        assert running.returncode == -number
        assert gone.wait(DEADLINE)
