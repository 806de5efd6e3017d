# SPDX-License-Identifier: Apache-2.0
"""Images on the command line with wrong input: one line that says what failed, on what, why, and what to do."""
import contextlib
import fcntl
import gzip
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import tarfile
import termios
import threading

import pytest

from conftest import DEADLINE, MSB, archive, files, layer
from test_programs import registry, silent

TAR = layer({"etc/hostname": b"toy\n"})


@pytest.fixture
def toy(home, tmp_path):
    home.archive = archive(tmp_path / "toy.tar", ["toy:latest"], TAR)
    home.ok("load", "-q", "-i", home.archive)
    return home


@pytest.mark.parametrize("args, code, says", [
    (["imag"], 2, "unrecognized command 'imag'; did you mean 'image'?"),
    (["image", "lst"], 2, "did you mean 'list'?"),
    (["image", "rmm"], 2, "did you mean 'rm'?"),
    (["vol", "lss"], 2, "did you mean 'ls'?"),
    (["image", "inspect"], 2, "missing argument: REFERENCE"),
    (["pull", "a", "b"], 2, "unexpected argument 'b'\n"),
    (["run", "a", "b"], 2, "unexpected argument 'b'; the command goes behind '--'\n"),
    (["pull", "--insecur", "a"], 2, "did you mean '--insecure'?"),
    (["pull", "-u", "me", "a"], 2, "--username and --password-stdin belong together"),
    (["load", "x.tar"], 2, "an archive is named with --input"),
    (["load", "-i", "nope.tar"], 1, "open 'nope.tar': No such file or directory"),
    (["load", "-i", "."], 1, "load '.': archive missing manifest.json or oci-layout"),
    (["load", "-i", "/dev/null"], 1, "it is empty"),
    (["load"], 1, "it is empty"),
    (["pull", ""], 1, "the image reference is empty"),
    (["pull", "./x"], 1, "it is a path; 'msb run' takes folders and disk images, 'msb load --input' takes archives"),
    (["pull", "docker://a/b"], 1, "without what is before '://'"),
    (["pull", "Python"], 1, "lower-case"),
    (["pull", "--ca-certs", "/nope", "127.0.0.1:1/a"], 1, "certificates to trust: open '/nope'"),
    (["pull", "--ca-certs", "/dev/null", "127.0.0.1:1/a"], 1, "'/dev/null' is no regular file"),
    (["image", "inspect", "toy:2"], 1, "image not found: toy:2"),
    (["image", "tag", "toy", "x@sha256:" + "0" * 64], 1, "cannot be a name of this image"),
    (["save", "-o", "/nope/x", "toy"], 1, "create '/nope/x': No such file or directory"),
    (["save", "-o", "/dev/full", "toy"], 1, "write the archive: No space left on device"),
    (["save", "-o", "new/", "toy"], 1, "'new/' is a folder, and the docker format is only a file: name one, or use --format oci"),
    (["save", "-o", ".", "toy"], 1, "use --format oci"),
    (["save", "--format", "oci", "-o", ".", "toy"], 1, "only an empty folder or a new one is taken"),
    (["save", "--format", "oci", "-o", "new/", "nope"], 1, "docker.io/library/nope:latest"),
    (["save", "--format", "oci", "-o", "/nope/x/", "toy"], 1, "create '/nope/x': No such file or directory"),
    (["save", "--format", "oci", "-o", "/dev/null/", "toy"], 1, "open '/dev/null/': Not a directory"),
    (["save", "nope"], 1, "docker.io/library/nope:latest"),
    (["image", "prune"], 1, "use --yes"),
])
def test_words(toy, tmp_path, args, code, says):
    before = files(tmp_path)
    done = toy.run(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ") and says in done.stderr
    assert done.stderr.count("\n") == (2 if code == 2 else 1)
    assert [f for f in files(tmp_path) if not f.endswith((".lock", "-wal", "-shm"))] == \
        [f for f in before if not f.endswith((".lock", "-wal", "-shm"))]


def test_a_pin_that_is_right(toy):
    digest = toy.json("image", "inspect", "toy")["digest"]
    toy.ok("image", "tag", "toy", f"mine@{digest}")
    assert toy.json("image", "inspect", f"mine@{digest}")["digest"] == digest


def test_archives_that_are_none(home, tmp_path):
    whole = archive(tmp_path / "toy.tar", ["toy:1"], TAR).read_bytes()
    for name, data, says in [
            ("junk.tar", os.urandom(3000), "tar header"), ("cut.tar", whole[:3000], "ends in the middle"),
            ("other.tar", TAR, "neither 'docker save' nor OCI tools made it"),
            ("cut.tar.gz", gzip.compress(whole)[:-12], "ends too early")]:
        (tmp_path / name).write_bytes(data)
        done = home.run("load", "-i", name, cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith(f"error: load '{name}': ") and says in done.stderr
    assert [f for f in files(home.path / "cache") if not f.endswith(".lock")] == []
    (tmp_path / "toy.tar.gz").write_bytes(gzip.compress(whole))
    home.ok("load", "-q", "-i", tmp_path / "toy.tar.gz")
    assert home.ok("images", "-q") == "docker.io/library/toy:1\n"


def test_words_of_an_image_do_nothing_to_a_terminal(home, tmp_path):
    """They are a stranger's: escape sequences and false lines do not get through."""
    evil = archive(tmp_path / "evil.tar", ["evil:1"], TAR)
    with tarfile.open(evil) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    toc = json.loads(members.pop("manifest.json"))
    config = json.loads(members[toc[0]["Config"]])
    config["config"] = {"Env": ["A=\x1b]0;owned\x07"], "Cmd": ["\x1b[31m\nLayers (9)"], "User": "u\x1b[2J",
                        "WorkingDir": "/\u009b31m", "Labels": {"k\nx": "\x7f"}, "StopSignal": "\x1b"}
    members[toc[0]["Config"]] = json.dumps(config).encode()
    evil.write_bytes(layer({**members, "manifest.json": json.dumps(toc).encode()}))
    home.ok("load", "-q", "-i", evil)
    for args in (["image", "inspect", "evil:1"], ["image", "inspect", "--format", "json", "evil:1"], ["images"]):
        text = home.ok(*args)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
        assert "\nLayers (9)" not in text
    assert home.json("image", "inspect", "evil:1")["config"]["labels"] == {"k\nx": "\x7f"}
    done = home.run("load", "-i", "a\nb\x1b[31m.tar", cwd=tmp_path)
    assert done.stderr == "error: open 'a?b?[31m.tar': No such file or directory\n"


def test_full_disk(home, tmp_path):
    """It says which disk, and what helps; what was there before works on."""
    big = archive(tmp_path / "big.tar", ["big:1"], layer({"f": os.urandom(2 << 20)}))
    home.path.mkdir()
    script = ('mount -t tmpfs -o size=1500k tmpfs "$MSB_HOME" && shift 0; "$0" load -i "$1"; a=$?;'
              ' "$0" image prune -y; "$0" image ls; find "$MSB_HOME/cache" -type f; exit $a')
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, MSB, big], env=home.env, capture_output=True, text=True,
                          timeout=DEADLINE, check=False)
    first, *rest = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in first and f"'{home.path}/cache' is full; 'msb image prune'" in first
    assert rest[-1] == "No images found." and done.stdout == ""


@pytest.mark.parametrize("home_is, says", [("a file", "Not a directory"), ("closed", "Permission denied"),
                                           ("read-only", "Permission denied")])
def test_no_home(toy, tmp_path, home_is, says):
    """As somebody who may not do everything, which root may."""
    (tmp_path / "fixed").mkdir(mode=0o555)
    toy.env["MSB_HOME"] = str({"a file": toy.archive, "closed": toy.path, "read-only": tmp_path / "fixed/new"}[home_is])
    os.chmod(toy.path, 0)
    done = subprocess.run(["setpriv", "--bounding-set=-dac_override,-dac_read_search", MSB, "load", "-i", toy.archive],
                          env=toy.env, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: ") and says in done.stderr


def test_file_size_limit(home, tmp_path):
    big = archive(tmp_path / "big.tar", ["big:1"], layer({"f": os.urandom(2 << 20)}))
    done = home.run("load", "-i", big, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
    assert done.returncode == 1 and done.stderr.endswith(": File too large\n") and done.stderr.count("\n") == 1
    assert home.json("image", "ls") == []
    home.ok("load", "-q", "-i", big)


@pytest.mark.parametrize("args", [["load", "-i", "ARCHIVE"], ["image", "rm", "toy"], ["image", "prune", "-y"],
                                  ["volume", "create", "v"], ["run", "toy"]], ids=lambda args: "-".join(args[:2]))
def test_read_only_medium(toy, args):
    """What has to write says what is in the way; what reads does not notice."""
    if os.geteuid() != 0:
        pytest.skip("impossible here: a read-only mount takes root")
    subprocess.run(["mount", "--bind", "-o", "ro", toy.path, toy.path], check=True, timeout=DEADLINE)
    try:
        assert toy.ok("image", "ls", "-q") == "docker.io/library/toy:latest\n"
        done = toy.run(*[str(toy.archive) if a == "ARCHIVE" else a for a in args])
    finally:
        subprocess.run(["umount", toy.path], check=True, timeout=DEADLINE)
    assert done.returncode != 0 and done.stderr == f"error: write the catalogue '{toy.path}/db/msb.db': Read-only file system\n"


def test_wherever_the_home_is(toy, tmp_path):
    for path in ("with space/\u00e9", "relative", "x" * 200):
        toy.env["MSB_HOME"] = path
        subprocess.run([MSB, "load", "-q", "-i", toy.archive], env=toy.env, cwd=tmp_path, check=True, timeout=DEADLINE)
        done = subprocess.run([MSB, "image", "ls", "-q"], env=toy.env, cwd=tmp_path, check=True, timeout=DEADLINE,
                              capture_output=True, text=True)
        assert done.stdout == "docker.io/library/toy:latest\n"
    assert (tmp_path / "relative" / "cache").is_dir()


def test_broken_pipe(toy):
    save = toy.start("save", "toy")
    save.stdout.close()
    _, err = save.communicate(timeout=DEADLINE)
    assert (save.returncode, err) == (-signal.SIGPIPE, "")


# --- terminals


class Terminal:
    """msb on a terminal of so many columns and rows; what it writes there."""

    def __init__(self, home, *args, columns, rows=24):
        ours, theirs = pty.openpty()
        self.fd, self.text = ours, ""
        self.resize(columns, rows)
        self.process = subprocess.Popen([MSB, *args], env=home.env, stdin=theirs, stdout=theirs, stderr=theirs,
                                        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        os.close(theirs)

    def resize(self, columns, rows=24):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, words):
        while words not in self.text:
            assert (data := os.read(self.fd, 65536)), self.text
            self.text += data.decode()

    def end(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.text += data.decode()
        os.close(self.fd)
        return self.process.wait(DEADLINE)

    def lines(self):
        """As wide as they are on the screen; what ends with an error is not drawn by the progress."""
        text = re.sub(r"\x1b\[\d*[AJm]", "", self.text.split("error: ")[0])
        return [line for line in re.split(r"[\r\n]+", text) if line]


@pytest.mark.parametrize("columns", [10, 40, 200])
def test_progress_fits(home, columns):
    """A line that wrapped could not be taken back; what failed and when it goes on is said."""
    def busy(connection):
        with connection:
            connection.settimeout(DEADLINE)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: 20\r\nConnection: close\r\n\r\n")

    with registry(home, busy) as host:
        terminal = Terminal(home, "pull", f"{host}/a:1", columns=columns)
        terminal.read_until("     ! a"[:columns - 1])
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == -signal.SIGINT
    assert all(len(line) < columns for line in terminal.lines())
    if columns == 200:
        assert "again in 20.0 s: " in terminal.text and "answered 503" in terminal.text


def test_interrupted_pull_goes_on(home):
    """Ctrl-C ends it at once, leaves nothing but what the next pull can use, and prune takes that too."""
    arrived = threading.Event()
    with registry(home, silent(arrived, threading.Event())) as host:
        terminal = Terminal(home, "pull", f"{host}/a:1", columns=80)
        assert arrived.wait(DEADLINE)
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == -signal.SIGINT
    assert [f for f in files(home.path / "cache") if not f.endswith(".lock")] == []
    home.ok("image", "prune", "-y")
    assert files(home.path / "cache") == []


def test_no_archive_for_a_terminal(toy):
    terminal = Terminal(toy, "save", "toy", columns=80)
    assert terminal.end() == 1 and "use --output" in terminal.text
    terminal = Terminal(toy, "load", columns=80)
    assert terminal.end() == 1 and "--input" in terminal.text


# --- registries


def test_unknown_host(home):
    done = home.run("pull", "nowhere.invalid/a")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: pull nowhere.invalid/a:latest: https://nowhere.invalid: Could not resolve")


def test_secrets_folder(home, tmp_path):
    """config.json may move it."""
    shown = []

    def guarded(connection):
        with connection:
            connection.settimeout(DEADLINE)
            shown.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                               b"Connection: close\r\n\r\n")

    with registry(home, guarded) as host:
        (home.path / "config.json").write_text(json.dumps({
            "paths": {"secrets": str(tmp_path / "vault")},
            "registries": {"hosts": {host: {"insecure": True, "auth": {"username": "u", "secret_name": "s"}}}}}))
        done = home.run("pull", f"{host}/a:1")
        assert done.returncode == 1 and f"credentials of {host}: open '{tmp_path}/vault" in done.stderr
        (tmp_path / "vault" / "registries").mkdir(parents=True)
        (tmp_path / "vault" / "registries" / "s").write_text("p\n")
        assert "wrong credentials" in home.run("pull", f"{host}/a:1").stderr
    assert b"Authorization: Basic dTpw\r\n" in shown[-1]


def test_credentials_wanted(home):
    def closed(connection):
        with connection:
            connection.settimeout(DEADLINE)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                               b"Connection: close\r\n\r\n")

    with registry(home, closed) as host:
        done = home.run("pull", f"{host}/a:1")
        assert done.returncode == 1 and "'msb pull --username' takes them, or config.json has them" in done.stderr
        done = subprocess.run([MSB, "pull", "-u", "me", "--password-stdin", f"{host}/a:1"], env=home.env,
                              input="hunter2\n", capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert done.returncode == 1 and "wrong credentials" in done.stderr and "hunter2" not in done.stderr
        done = home.run("pull", "-u", "me", "--password-stdin", f"{host}/a:1")
        assert done.returncode == 1 and "no password on standard input" in done.stderr
