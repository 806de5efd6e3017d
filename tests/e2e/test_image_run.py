# SPDX-License-Identifier: Apache-2.0
"""msb run REFERENCE: what an image says about how to run it, and what the command line says instead."""
import os
import signal

import pytest

from conftest import make_root
from images import Image, write_layout
from sandbox import one_line_error
from tars import Tar, gnu_tar
from test_disks import check_clean, make_ext4

PASSWD = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\nstaff:x:50:other,app\nwheel:x:10:app\n"
ENTRY = '''#!/bin/sh
for word; do echo "word:$word"; done
echo "id:$(id -u):$(id -g):$(id -G)"; echo "at:$(pwd)"; echo "env:$A:$B:$HOME"; touch made && stat -c 'made:%u:%g' made
'''
CONFIG = {"Entrypoint": ["/entry", "-x"], "Cmd": ["one", "two words", ""], "User": "app", "WorkingDir": "/srv/dir",
          "Env": ["PATH=/bin:/usr/bin", "A=image", "B=image=with=signs"], "StopSignal": "SIGUSR1"}


def top_layer():
    t = Tar().add("./", mode=0o751, gid=7).add("entry", ENTRY, mode=0o755).add("etc/").add("etc/passwd", PASSWD).add("etc/group", GROUP)
    t.add("srv/").add("srv/dir/", mode=0o1777).add("opt/").add("opt/one", "1").add("opt/two", "2").add("home/").add("home/app/", uid=1000)
    return t.done()


def changes():
    return Tar().add("opt/.wh.one").add("opt/three", "3").add("home/.wh..wh..opq").add("home/new", "n").done()


@pytest.fixture(scope="module")
def app(msb, home, tmp_path_factory):
    """One image, as app it has all of CONFIG, as plain nothing but the path, as elsewhere a working directory that is not in it."""
    busybox = gnu_tar(make_root("busybox"))
    elsewhere = [busybox, Tar().symlink("app", "data/app").done()], {"WorkingDir": "/app/deep"}
    for name, layers, config in ("app", [busybox, top_layer(), changes()], CONFIG), ("plain", [busybox, top_layer()], {}), ("elsewhere", *elsewhere):
        msb.load(write_layout(tmp_path_factory.mktemp(name), {name: Image(layers, **config)}), name, home)
    return "app"


@pytest.mark.engine
def test_everything_from_the_image(msb, home, app):
    result = msb.run(app, env=home)
    assert result.text.splitlines() == ["word:-x", "word:one", "word:two words", "word:", "id:1000:1001:1001 10 50", "at:/srv/dir",
                                        "env:image:image=with=signs:/home/app", "made:1000:1001"], result.err
    assert result.code == 0


@pytest.mark.parametrize("options, command, want", [
    (["-e", "A=caller", "-e", "HOME=/mine", "-w", "/tmp"], ["given"], ["word:-x", "word:given", "id:1000:1001:1001 10 50", "at:/tmp",
                                                    "env:caller:image=with=signs:/mine", "made:1000:1001"]),
    (["--entrypoint", "/entry", "-u", "7:staff"], [],
     ["word:one", "word:two words", "word:", "id:7:50:50", "at:/srv/dir", "env:image:image=with=signs:/", "made:7:50"]),
], ids=["command", "entrypoint"])
def test_in_place_of_the_image(msb, home, app, options, command, want):
    result = msb.run(*options, app, "--", *command, env=home)
    assert (result.code, result.text.splitlines()) == (0, want), result.err


def test_working_directory_that_is_missing(msb, home, app):
    """It is made, where its links lead, and not for the user only; who is not in passwd has a home all the same."""
    result = msb.run("-u", "4242", "elsewhere", "--", "sh", "-c", "pwd -P; stat -c '%a %u:%g' . .. /data; echo $HOME", env=home)
    assert (result.code, result.text.splitlines()) == (0, ["/data/app/deep", *["755 0:0"] * 3, "/"]), result


def test_no_command_is_a_shell(msb, home, app):
    script = b"""id -u; pwd; ls /opt /home; echo changed >/etc/new && rm /entry && mkdir /opt/more && mv /opt/two /opt/more
                 cat /etc/new; ls / /opt | grep -c entry; stat -c '%a %u:%g' /; grep -c ' / overlay rw' /proc/mounts; exit 5"""
    result = msb.run("plain", env=home, stdin=script)
    assert (result.code, result.text.split()) == (5, ["0", "/", "/home:", "app", "/opt:", "one", "two", "changed", "0", "751", "0:7", "1"]), result


def test_layers_hide_and_writes_stay_on_a_disk(msb, home, app, tmp_path):
    """
    The image is the same for the next sandbox; a disk of the user's keeps what was written, attributes of / among it, and
    all that was still in memory when the command ended.
    """
    disk = make_ext4(tmp_path / "mine.raw", 300)
    options = ["--root-disk", f"{disk}:fstype=ext4", "-u", "0", "--entrypoint", "", app, "--", "sh", "-c"]
    script = "ls /opt /home; stat -c %a:%g /; chmod 700 /; chgrp 9 /; rm -r /opt; dd if=/dev/zero of=/large bs=1M count=90 2>/dev/null; echo kept >/srv/kept"
    first = msb.run(*options, script, env=home)
    assert (first.code, first.text.split()) == (0, ["/home:", "new", "/opt:", "three", "two", "751:7"]), first.err
    check_clean(disk)
    second = msb.run(*options, "cat /srv/kept; stat -c %a:%g /; ls -d /opt; ls /home; stat -c '%s %b' /large", env=home)
    size = 90 << 20
    assert second.text.split()[:-1] == ["kept", "700:9", "new", str(size)] and int(second.text.split()[-1]) * 512 >= size, second


def test_stop_signal(msb, home, app):
    """SIGTERM to msb asks the command in the image's way."""
    running = msb.start_run("--entrypoint", "", app, "--", "sh", "-c", "trap 'echo asked; exit 9' USR1; echo ready; while :; do sleep 1; done",
                            env=home)
    running.wait_for(b"ready")
    running.popen.send_signal(signal.SIGTERM)
    result = running.wait()
    assert (result.code, result.out) == (9, b"ready\nasked\n"), result.err


@pytest.mark.parametrize("options, code, words", [
    (["-u", "nobody-here", "plain", "--", "true"], 1, "user not found: nobody-here"),
    (["-u", "app:nogroup-here", "plain", "--", "true"], 1, "group not found: nogroup-here"),
    (["-w", "/not/there", "plain", "--", "true"], 1, "/not/there"),
    (["--tmpfs", "/data:1M:ro", "elsewhere", "--", "true"], 1, "make \"/app/deep\", the working directory that the image names: Read-only"),
    (["--entrypoint", "/no/such", "app"], 127, "/no/such"),
    (["bare"], 127, "/bin/sh"),
], ids=lambda x: "-".join(x) if isinstance(x, list) else None)
def test_what_the_image_has_not(msb, home, app, tmp_path, options, code, words):
    if options == ["bare"]:
        msb.load(write_layout(tmp_path, {"x": Image([Tar().add("only/").done()])}), "bare", home)
    result = msb.run(*options, env=home)
    assert result.code == code and words in one_line_error(result), result.err


def test_images_that_are_not_there(msb, home, tmp_path):
    """Nothing boots. An image for other machines only is none."""
    result = msb.run("--pull", "never", "not/here:1", env=home)
    assert result.code == 1 and "not/here:1" in one_line_error(result)
    for reference in "UPPER/case", "a b", "host:port/x", "":
        result = msb.run("--pull", "never", reference, env=home)
        assert result.code in (1, 2) and one_line_error(result), reference
    other = write_layout(tmp_path / "arm", {"x": Image([Tar().add("only/").done()], architecture="arm64")})
    result = msb.call("load", "-i", other, "-t", "arm", env=home)
    assert result.code == 1 and "amd64" in one_line_error(result), result.err
    result = msb.run("--pull", "never", "arm", env=home)
    assert result.code == 1 and "arm" in one_line_error(result)
    os.mkdir(tmp_path / "folder")
    result = msb.run("--pull", "never", "folder", env=home, cwd=tmp_path)
    assert result.code == 1 and "'./folder'" in one_line_error(result)
