# SPDX-License-Identifier: Apache-2.0
"""What a command in a microVM sees and gives back: output, exit code, stdin, environment, folders, size."""
import hashlib
import os
import random
import subprocess

import pytest

MIB = 1 << 20


def test_output_and_success(msb, busybox):
    result = msb.run(busybox, "--", "echo", "hello")
    assert (result.code, result.out) == (0, b"hello\n"), result.err


@pytest.mark.lab
@pytest.mark.engine
def test_nothing_but_the_command_on_stderr(msb, busybox):
    result = msb.sh(busybox, "echo out; echo err >&2")
    assert (result.code, result.out, result.err) == (0, b"out\n", "err\n")


@pytest.mark.parametrize("code", [1, 7, 255])
def test_exit_code(msb, busybox, code):
    assert msb.sh(busybox, f"exit {code}").code == code


def test_death_by_signal_is_128_plus_its_number(msb, busybox):
    assert msb.sh(busybox, "kill -9 $$").code == 128 + 9


def test_arguments_arrive_unchanged(msb, busybox):
    arguments = ["a b", "", "ü€", "$HOME `id` \\ \"'", "--", "-c"]
    result = msb.run(busybox, "--", "printf", "%s|", *arguments)
    assert result.text == "".join(a + "|" for a in arguments), result.err


@pytest.mark.lab
@pytest.mark.engine
def test_output_appears_while_the_command_runs(msb, busybox):
    running = msb.start_run(busybox, "--", "sh", "-c", "echo first; read line; echo got $line >&2; read line")
    running.wait_for(b"first\n")  # the command is now waiting for us
    running.write(b"second\n")
    running.wait_for(b"got second\n", name="err")
    running.popen.stdin.close()
    assert running.wait().code == 1  # read met the end of file


def test_end_of_stdin(msb, busybox):
    result = msb.sh(busybox, "cat; echo end", stdin=subprocess.DEVNULL)
    assert (result.code, result.out) == (0, b"end\n"), result.err


def test_stdin_is_left_alone_by_a_command_that_ignores_it(msb, busybox):
    assert msb.sh(busybox, "exit 3", stdin=bytes(4 * MIB)).code == 3


@pytest.mark.engine
def test_stdin_to_stdout_unchanged(msb, busybox, tmp_path):
    """MSB_TEST_STDIN_MIB makes it large: 1024 in the soak."""
    path, digest = tmp_path / "input", hashlib.sha256()
    generator = random.Random(1)
    with open(path, "wb") as file:
        for _ in range(int(os.environ.get("MSB_TEST_STDIN_MIB", 64 if msb.engine == "qemu" else 16))):
            block = generator.randbytes(MIB)
            digest.update(block)
            file.write(block)
    with open(path, "rb") as file:
        result = msb.sh(busybox, "cat; exit 7", stdin=file, seconds=600)
    assert result.code == 7, result.err
    assert len(result.out) == path.stat().st_size
    assert hashlib.sha256(result.out).digest() == digest.digest()


def test_much_output_in_order(msb, busybox):
    """More than every buffer on the way; nothing is lost or reordered."""
    result = msb.run(busybox, "--", "seq", "1000000", seconds=180)
    assert result.out == b"".join(b"%d\n" % i for i in range(1, 1000001)), result.err


def test_reader_that_leaves_early(msb, busybox):
    """As in "msb run ... | head -1": a quiet end, no message, no process left."""
    read_end, write_end = os.pipe()
    msb_process = subprocess.Popen(
        [msb.binary, "run", "--engine", msb.engine, busybox, "--", "yes"],
        stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.PIPE, start_new_session=True,
    )
    os.close(write_end)
    try:
        assert os.read(read_end, 2) == b"y\n"
        os.close(read_end)
        _, err = msb_process.communicate(timeout=60 * msb.patience)
    finally:
        if msb_process.poll() is None:
            msb_process.kill()
            msb_process.wait()
    assert err == b""


@pytest.mark.lab
@pytest.mark.engine
@pytest.mark.parametrize("vcpus", [1, 4])
def test_vcpus(msb, busybox, vcpus):
    result = msb.sh(busybox, "nproc; grep -c ^processor /proc/cpuinfo", "-c", vcpus)
    assert result.text.split() == [str(vcpus)] * 2, result.err


def test_most_vcpus(msb, busybox):
    result = msb.sh(busybox, "nproc", "-c", 16, seconds=180)
    assert result.out == b"16\n", result.err


@pytest.mark.engine
@pytest.mark.parametrize("size,mib", [("256M", 256), ("3500M", 3500)])
def test_memory(msb, busybox, size, mib):
    result = msb.sh(busybox, "grep MemTotal /proc/meminfo", "-m", size)
    total = int(result.text.split()[1]) / 1024
    # The kernel keeps its own image, the page structures and reserved ranges out of the total. On the kvm engine the
    # image of the kernel library lies beside the RAM asked for, as libkrun has it, and what of it the kernel frees after
    # its start comes on top.
    beside = 32 if msb.engine == "kvm" else 0
    assert mib * 0.85 - 32 < total <= mib + beside, result.text


@pytest.mark.parametrize("size,mib", [("300", 300), ("1g", 1024), ("0.5G", 512)])
def test_ways_to_write_a_size(msb, busybox, size, mib):
    test_memory(msb, busybox, size, mib)


def test_environment(msb, busybox):
    result = msb.sh(busybox, 'printf "%s|" "$ONE" "$TWO" "$EMPTY" "$PATH"; ', "-e", "ONE=1 = one", "-e", "TWO=zwölf\n2",
                    "-e", "EMPTY=")
    one, two, empty, path, _ = result.text.split("|")
    assert (one, two, empty) == ("1 = one", "zwölf\n2", "")
    assert "/bin" in path.split(":")


def test_host_environment_stays_outside(msb, busybox):
    result = msb.run(busybox, "--", "env", env={**os.environ, "HOST_SECRET": "hush"})
    assert result.code == 0 and b"hush" not in result.out


def test_long_environment(msb, busybox):
    """Far beyond what a kernel command line could carry."""
    value = "x" * 100000
    result = msb.sh(busybox, "echo ${#LONG}; cat /proc/cmdline", "-e", f"LONG={value}")
    assert result.text.startswith("100000\n"), result.err
    assert "xxxx" not in result.text


def test_working_directory(msb, busybox):
    assert msb.run("-w", "/usr/bin", busybox, "--", "pwd").out == b"/usr/bin\n"


@pytest.mark.engine
def test_the_root_is_the_folder(msb, own_root):
    (own_root / "from-host").write_text("host\n")
    result = msb.sh(own_root, "cat /from-host; echo guest >/from-guest; mkdir /d; ln -s /d /l; chmod 640 /from-guest")
    assert (result.code, result.out) == (0, b"host\n"), result.err
    assert (own_root / "from-guest").read_text() == "guest\n"
    assert (own_root / "d").is_dir() and os.readlink(own_root / "l") == "/d"


def test_the_root_holds_only_what_was_there(msb, own_root):
    """Our guest binary is served beside the folder's entries, not written among them."""
    before = sorted(os.listdir(own_root))
    assert msb.sh(own_root, "true").code == 0
    assert sorted(os.listdir(own_root)) == before


def test_system_folders(msb, busybox):
    result = msb.sh(busybox, "test -c /dev/null && test -d /proc/1 && test -d /sys/class && echo x >/tmp/f && "
                    "test -w /dev/shm && test -c /dev/ptmx && head -c 8 /dev/urandom | wc -c")
    assert (result.code, result.text.strip()) == (0, "8"), result.err


def test_shared_folder(msb, busybox, tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    (share / "in").write_text("from the host\n")
    result = msb.sh(busybox, "cat /data/in; echo from the guest >/data/out", "-v", f"{share}:/data")
    assert (result.code, result.out) == (0, b"from the host\n"), result.err
    assert (share / "out").read_text() == "from the guest\n"


@pytest.mark.engine
def test_read_only_folder(msb, busybox, tmp_path):
    """Read-only in the device: a guest that mounts it again, writable, changes nothing."""
    share = tmp_path / "share"
    share.mkdir()
    (share / "in").write_text("from the host\n")
    result = msb.sh(busybox, "cat /data/in; echo x >/data/in; rm /data/in; mount -o remount,rw /data; "
                    "echo y >/data/in; echo z >/data/new; rm /data/in; chmod 777 /data/in; echo tried",
                    "-v", f"{share}:/data:ro")
    assert result.text == "from the host\ntried\n", result.err
    assert (share / "in").read_text() == "from the host\n" and os.listdir(share) == ["in"]


@pytest.mark.engine
def test_two_folders(msb, busybox, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_text(name)
    result = msb.sh(busybox, "cat /mnt/a/f /mnt/b/deep/f", "-v", f"{tmp_path}/a:/mnt/a", "-v",
                    f"{tmp_path}/b:/mnt/b/deep:ro")
    assert (result.code, result.out) == (0, b"ab"), result.err


def test_links_do_not_lead_out_of_the_root(msb, own_root, tmp_path):
    (tmp_path / "secret").write_text("secret")
    os.symlink(f"../../../../../../../../../../{tmp_path}/secret", own_root / "out")
    os.symlink(tmp_path / "secret", own_root / "absolute")
    result = msb.sh(own_root, "cat /out; cat /absolute; cat /../../../secret")
    assert b"secret" not in result.out and result.code != 0
