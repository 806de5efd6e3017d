# SPDX-License-Identifier: Apache-2.0
"""Named volumes and single files while machines use them."""
import os
import pathlib
import tempfile

import pytest

from sandbox import one_line_error
from test_disks import check_clean

WAIT = "until [ -e /s/{0} ]; do sleep 0.1; done; cat /s/{0}"


@pytest.fixture
def elsewhere():
    """A file on another file system than the tests' own: memory."""
    with tempfile.NamedTemporaryFile("w", dir="/dev/shm", suffix=".conf") as file:
        file.write("from memory\n")
        file.flush()
        yield pathlib.Path(file.name)


@pytest.mark.engine
def test_machines_that_meet(msb, busybox, tmp_path, elsewhere):
    """A folder is one for all of them, live; a disk has one writer; what is in use is not removed."""
    home = dict(os.environ, MSB_HOME=str(tmp_path / "home"))
    edited = tmp_path / "edited.conf"
    edited.write_text("first\n")
    options = ["-v", "shared:/s", "--mount-named", "pg:/pg:kind=disk,size=64M", "-v", f"{elsewhere}:/etc/one.conf",
               "-v", f"{edited}:/etc/edited.conf"]
    script = f"""
        cat /etc/one.conf; echo more >>/etc/one.conf
        echo x >/tmp/new; mv /tmp/new /etc/one.conf 2>&1 | grep -o 'busy'
        echo a >/s/from-a; echo kept >/pg/file; {WAIT.format("from-b")}; cat /etc/edited.conf
    """
    one = msb.start_run(*options, busybox, "--", "sh", "-c", script, env=home)
    one.wait_for(b"busy\n", 180)
    for option in ("pg:/d", "pg:/d:ro"):
        refused = msb.run("-v", option, busybox, "--", "true", env=home)
        assert refused.code == 1 and "volume 'pg' is in use by " in one_line_error(refused)
    for name in ("pg", "shared"):
        refused = msb.call("volume", "rm", name, env=home)
        assert refused.code == 1 and f"volume '{name}' is in use by " in one_line_error(refused)
    # What an editor does: the name gets another file, and the guest keeps the one that it has.
    (tmp_path / "edited.new").write_text("second\n")
    os.replace(tmp_path / "edited.new", edited)
    two = msb.sh(busybox, f"{WAIT.format('from-a')}; echo b >/s/b; mv /s/b /s/from-b", "-v", "shared:/s", env=home)
    assert (two.code, two.text) == (0, "a\n"), two.err
    ended = one.wait(180)
    assert (ended.code, ended.text) == (0, "from memory\nbusy\nb\nfirst\n"), ended.err
    assert elsewhere.read_text() == "from memory\nmore\n" and edited.read_text() == "second\n"
    check_clean(tmp_path / "home/volumes/pg/disk.raw")
    assert msb.call("volume", "rm", "pg", "shared", env=home).code == 0
    assert os.listdir(tmp_path / "home/volumes") == [".locks"]
