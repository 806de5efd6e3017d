# SPDX-License-Identifier: Apache-2.0
"""A real distribution on the fs device: what its package manager, git and the compiler ask of a root file system."""
import subprocess

import pytest


def test_boots(msb, debian):
    result = msb.sh(debian, ". /etc/os-release && echo $ID $VERSION_ID && dpkg --audit && id -un")
    assert (result.code, result.out) == (0, b"debian 12\nroot\n"), result.err


@pytest.mark.engine
def test_apt_installs_and_removes_a_package(msb, debian):
    """The packages lie in the root as files; there is no network."""
    script = (
        "export DEBIAN_FRONTEND=noninteractive && apt-get -y -qq install /var/tmp/hello_*.deb >/dev/null && hello && "
        "dpkg -V hello && apt-get -y -qq purge hello >/dev/null && ! test -e /usr/bin/hello"
    )
    result = msb.sh(debian, script, "-m", "1G", seconds=300)
    assert result.code == 0 and b"Hello, world!" in result.out, result.err


def make_repository(path):
    git = ["git", "-C", path, "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "init", "-q", path], check=True)
    for number in range(20):
        (path / f"file{number}").write_text(f"{number}\n" * 1000)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, "commit", "-q", "-m", f"number {number}"], check=True)
    return subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.engine
def test_git_clones_a_repository(msb, debian, tmp_path):
    (tmp_path / "repo").mkdir()
    head = make_repository(tmp_path / "repo")
    script = (
        "rm -rf /root/clone && git config --global --add safe.directory '*' && "
        "git clone -q /srv/repo /root/clone && cd /root/clone && git fsck --full --strict && git status --porcelain && "
        "git rev-parse HEAD && cat file*"
    )
    result = msb.sh(debian, script, "-m", "1G", "-v", f"{tmp_path}/repo:/srv/repo:ro", seconds=300)
    assert result.code == 0, result.err
    assert result.text.split("\n", 1)[0] == head
    assert len(result.out) == len(head) + 1 + sum(1000 * len(f"{n}\n") for n in range(20))


@pytest.mark.engine
def test_compiler_and_make(msb, debian):
    script = r"""
        rm -rf /root/c && mkdir /root/c && cd /root/c
        printf '#include <stdio.h>\nint answer(void);\nint main(void) { printf("%%d\\n", answer()); return 0; }\n' >main.c
        printf 'int answer(void) { return 42; }\n' >answer.c
        printf 'prog: main.o answer.o\n\tgcc -o $@ $^\n' >Makefile
        make -s -j2 && ./prog && make -q
    """
    result = msb.sh(debian, script, "-m", "1G", "-c", 2, seconds=300)
    assert (result.code, result.out) == (0, b"42\n"), result.err


def test_tar_there_and_back(msb, debian):
    """Owners, modes, links, times and sparse files survive."""
    script = (
        "rm -rf /root/t && mkdir /root/t && cd /root/t && tar -C /usr/lib/gcc -cf gcc.tar . && mkdir out && "
        "tar -C out -xpf gcc.tar && tar -C out --compare -f gcc.tar && truncate -s 1G hole && stat -c '%s %b' hole && "
        "tar -Scf hole.tar hole && rm -rf /root/t"
    )
    result = msb.sh(debian, script, "-m", "1G", seconds=300)
    assert result.code == 0, result.err
    size, blocks = map(int, result.text.split())
    assert size == 1 << 30 and blocks < 100
