# SPDX-License-Identifier: Apache-2.0
"""Wrong input: one clear line on stderr and a documented exit code (1 msb could not; 2 usage; 126, 127 the command)."""
import os
import pathlib
import subprocess

import pytest

from sandbox import one_line_error


def test_version_and_help(msb):
    version = msb.call("--version")
    assert version.code == 0 and version.text.startswith("msb ")
    for args in (["--help"], ["run", "--help"]):
        help_text = msb.call(*args)
        assert help_text.code == 0 and "run" in help_text.text and help_text.err == ""


@pytest.mark.parametrize("args", [["bogus"], ["--bogus"], ["run", "--bogus"], ["run", "-c"], ["run", "--engine", "xen", "/"]],
                         ids=" ".join)
def test_usage(msb, args):
    result = msb.call(*args)
    assert result.code == 2 and result.out == b"", result
    assert args[-1].lstrip("-") in result.err or "xen" in result.err


def test_no_rootfs_argument(msb):
    assert msb.call("run").code in (1, 2)


def test_no_such_root(msb):
    result = msb.run("/no/such/folder", "--", "true")
    assert result.code == 1 and "/no/such/folder" in one_line_error(result)


def test_root_is_a_file(msb, tmp_path):
    (tmp_path / "file").write_text("")
    result = msb.run(tmp_path / "file", "--", "true")
    assert result.code == 1 and "file" in one_line_error(result)


def test_no_shell_in_root(msb, tmp_path):
    result = msb.sh(tmp_path, "true")
    assert result.code == 127 and "sh" in one_line_error(result)


@pytest.mark.parametrize("command", ["no-such-command", "/no/such/command"])
def test_command_not_found(msb, busybox, command):
    result = msb.run(busybox, "--", command)
    assert result.code == 127 and command in one_line_error(result)


@pytest.mark.parametrize("command", ["/etc/passwd", "/etc"])
def test_command_not_executable(msb, busybox, command):
    result = msb.run(busybox, "--", command)
    assert result.code == 126 and command in one_line_error(result)


def test_no_such_working_directory(msb, busybox):
    result = msb.run("-w", "/no/such/place", busybox, "--", "true")
    assert result.code not in (0, 126, 127) and "/no/such/place" in one_line_error(result)


@pytest.mark.parametrize("size", ["0", "0M", "100000G", "10X", "-1", "1.5.5G", "", "99999999999999999999M"])
def test_memory(msb, busybox, size):
    result = msb.run("-m", size, busybox, "--", "true")
    assert result.code in (1, 2)
    one_line_error(result)


def test_memory_more_than_the_host_has(msb, busybox):
    kib = int(pathlib.Path("/proc/meminfo").read_text().split()[1])
    result = msb.run("-m", f"{kib // 1024 + 4096}M", busybox, "--", "true")
    assert result.code == 1 and "mem" in one_line_error(result).lower()


@pytest.mark.parametrize("count", ["0", "17", "999", "-1", "two", "1.5", ""])
def test_vcpus(msb, busybox, count):
    result = msb.run("-c", count, busybox, "--", "true")
    assert result.code in (1, 2)
    one_line_error(result)


@pytest.mark.parametrize("option", [["-e", "=x"], ["-v", "nocolon"], ["-v", "/no/such/folder:/data"], ["-v", "/tmp:data"],
                                    ["-v", "/tmp:/data:rx"], ["-w", "relative"]], ids=" ".join)
def test_bad_options(msb, busybox, option):
    result = msb.run(*option, busybox, "--", "true")
    assert result.code in (1, 2)
    one_line_error(result)


def test_no_kernel_library(msb, busybox):
    result = msb.run(busybox, "--", "true", env={**os.environ, "MSB_LIBKRUNFW": "/no/such/libkrunfw.so.5"})
    assert result.code == 1 and "libkrunfw" in one_line_error(result)


def test_a_kernel_library_that_is_none(msb, busybox, tmp_path):
    (tmp_path / "libkrunfw.so.5").write_bytes(b"\x7fELF" + bytes(60))
    result = msb.run(busybox, "--", "true", env={**os.environ, "MSB_LIBKRUNFW": str(tmp_path / "libkrunfw.so.5")})
    assert result.code == 1 and "libkrunfw" in one_line_error(result)


def test_no_qemu(msb, busybox):
    env = {name: value for name, value in os.environ.items() if name != "MSB_QEMU"}
    result = msb.call("run", "--engine", "qemu", busybox, "--", "true", env={**env, "PATH": "/nonexistent"})
    assert result.code == 1 and "qemu" in one_line_error(result).lower()


# A mount namespace whose /dev has the usual nodes but no kvm.
WITHOUT_KVM = """
t=$(mktemp -d) && mount -t tmpfs tmpfs "$t" &&
for n in null zero full random urandom tty; do touch "$t/$n" && mount --bind "/dev/$n" "$t/$n" || exit 99; done &&
mkdir "$t/shm" && mount --bind /dev/shm "$t/shm" && mount --move "$t" /dev && rmdir "$t" && exec "$@"
"""


def test_no_dev_kvm(msb, busybox):
    if os.geteuid() != 0:
        pytest.skip("impossible here: hiding /dev/kvm takes root")
    command = [msb.binary, "run", "--engine", "kvm", str(busybox), "--", "true"]
    result = subprocess.run(["unshare", "--mount", "sh", "-c", WITHOUT_KVM, "sh", *command], capture_output=True,
                            timeout=60 * msb.patience, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 1, result
    assert b"/dev/kvm" in result.stderr and len(result.stderr.splitlines()) == 1


def test_full_disk_for_what_is_written_meanwhile(msb, busybox, tmp_path):
    """Wherever msb wants to keep files of a run, there is no room."""
    if os.geteuid() != 0:
        pytest.skip("impossible here: a full file system takes root to mount")
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=2", "tmpfs", full], check=True)
    try:
        (full / "filler").write_bytes(bytes(4096))
        places = {name: str(full) for name in ("TMPDIR", "XDG_RUNTIME_DIR", "MSB_HOME", "HOME")}
        result = msb.run(busybox, "--", "echo", "hello", env={**os.environ, **places})
    finally:
        subprocess.run(["umount", full], check=True)
    if result.code == 0:  # it needed no room
        assert result.out == b"hello\n"
    else:
        assert result.code == 1 and "space" in one_line_error(result)
