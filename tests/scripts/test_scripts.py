# SPDX-License-Identifier: Apache-2.0
"""The scripts that find Debian packages by the machine's own apt sources, and the one that adds up results."""
import os
import pathlib
import subprocess

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"


def sources(tmp_path, files, suite="testing"):
    (tmp_path / "sources.list.d").mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return subprocess.run([SCRIPTS / "debian-sources", suite], env={**os.environ, "MSB_ETC_APT": str(tmp_path)},
                          capture_output=True, text=True, check=True).stdout


def test_stanzas(tmp_path):
    out = sources(tmp_path, {"sources.list.d/debian.sources": """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
# inside
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/one.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.example/debian
Suites: bookworm
Components: main
""", "sources.list.d/other.sources": "Types: deb\nURIs: http://other.example\nSuites: nodistro\nComponents: main\n"})
    assert out == ("Types: deb\nURIs: http://mirror.example/debian\nSuites: testing\nComponents: main\n"
                   "Targets: Packages\nSigned-By: /usr/share/keyrings/one.gpg\n\n")


def test_key_inside_a_stanza(tmp_path):
    key = "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n -----END PGP PUBLIC KEY BLOCK-----\n"
    out = sources(tmp_path, {"sources.list.d/d.sources":
                             "Types: deb\nURIs: http://m.example\nSuites: stable\nComponents: main\n" + key})
    assert key in out


def test_lines(tmp_path):
    out = sources(tmp_path, {
        "sources.list": "# deb http://no.example bookworm main\n"
                        "deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] http://a.example/debian bookworm main # why\n"
                        "deb http://a.example/debian bookworm-updates main\n"
                        "deb-src http://a.example/debian bookworm main\n",
        "sources.list.d/x.list": "deb http://b.example/debian/ trixie non-free main\ndeb http://c.example ./\n"
                                 "deb http://d.example cloud-bookworm main\ndeb http://e.example bookworm contrib\n"})
    assert [line for line in out.splitlines() if line.startswith(("URIs", "Signed"))] == [
        "URIs: http://a.example/debian", "Signed-By: /k/a.gpg /k/b.gpg", "URIs: http://b.example/debian/"]


def test_no_sources(tmp_path):
    assert sources(tmp_path, {}) == ""


def fetch(tmp_path, sources_text):
    etc = tmp_path / "etc"
    (etc / "sources.list.d").mkdir(parents=True)
    (etc / "sources.list").write_text(sources_text)
    env = {**os.environ, "MSB_ETC_APT": str(etc), "MSB_CACHE": str(tmp_path / "cache")}
    return subprocess.run([SCRIPTS / "apt-fetch", "testing", "libkrunfw5", tmp_path / "out"], env=env,
                          capture_output=True, text=True, check=False)


def test_no_archive_has_the_package(tmp_path):
    result = fetch(tmp_path, "")
    assert result.returncode == 1 and "no Debian archive" in result.stderr
    (tmp_path / "empty").mkdir()
    other = fetch(tmp_path / "empty", f"deb file:{tmp_path}/empty bookworm main\n")
    assert other.returncode == 1 and "offers libkrunfw5 in suite 'testing'" in other.stderr
    assert not (tmp_path / "empty/out").exists()


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "no valid signature"])
def test_packages_without_a_good_signature_are_refused(tmp_path, signed):
    """A working archive in a folder, whose only fault is that no trusted key has signed it."""
    archive = tmp_path / "archive"
    (archive / "pkg/DEBIAN").mkdir(parents=True)
    (archive / "pkg/DEBIAN/control").write_text(
        "Package: libkrunfw5\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: forged\n")
    binaries = archive / "dists/testing/main/binary-amd64"
    binaries.mkdir(parents=True)
    run = {"cwd": archive, "check": True, "capture_output": True, "text": True}
    subprocess.run(["dpkg-deb", "-b", "pkg", "forged.deb"], **run)
    deb = (archive / "forged.deb").read_bytes()
    sha = subprocess.run(["sha256sum", "forged.deb"], **run).stdout.split()[0]
    packages = (archive / "pkg/DEBIAN/control").read_text() + f"Filename: forged.deb\nSize: {len(deb)}\nSHA256: {sha}\n"
    (binaries / "Packages").write_text(packages)
    sha = subprocess.run(["sha256sum", binaries / "Packages"], **run).stdout.split()[0]
    release = ("Suite: testing\nCodename: testing\nArchitectures: amd64 all\nComponents: main\n"
               f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n {sha} {len(packages)} main/binary-amd64/Packages\n")
    name, text = ("InRelease", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + release +
                  "-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n") if signed else ("Release", release)
    (archive / "dists/testing" / name).write_text(text)
    result = fetch(tmp_path, f"deb file:{archive} bookworm main\n")
    assert result.returncode == 1 and not (tmp_path / "out").exists(), result
    assert ("Signed file isn't valid" if signed else "is not signed") in result.stderr


def summed(tmp_path, env=None, **files):
    for name, text in files.items():
        (tmp_path / name.replace("_", ".")).write_text(text)
    result = subprocess.run(["python3", SCRIPTS / "sum-results", tmp_path], capture_output=True, text=True, check=False,
                            env={**os.environ, "MSB_MUST_WORK": "", **(env or {})})
    return result.returncode, result.stdout.splitlines()


def test_sum(tmp_path):
    assert summed(tmp_path, a_tsv="a\tpass\tone\t\na\tpass\ttwo\t\n") == (0, ["2 passed, 0 failed, 0 skipped"])
    assert summed(tmp_path, b_tsv="b\tskip\tthree\timpossible here: no kvm\n")[1][-1] == "2 passed, 0 failed, 1 skipped"


def test_sum_of_nothing_is_a_failure(tmp_path):
    assert summed(tmp_path)[0] == 1


def test_stage_that_left_no_failed_test_is_a_failure(tmp_path):
    assert summed(tmp_path, a_tsv="a\tpass\tone\t\na\tstatus\ta\t3\n")[1][-1] == "1 passed, 1 failed, 0 skipped"


def test_skip_where_all_must_work(tmp_path):
    table = "a\tskip\tone\tlazy\na\tskip\ttwo\timpossible here: no kvm\n"
    assert summed(tmp_path, {"MSB_MUST_WORK": "1"}, a_tsv=table)[1][-1] == "0 passed, 1 failed, 1 skipped"


def test_program_that_crashed_is_a_failure(tmp_path):
    junit = '<testsuites><testsuite name="x.unit.t"><testcase classname="t" name="c"/></testsuite></testsuites>'
    code, lines = summed(tmp_path, a_xml=junit, a_meson_json='{"name": "x:unit / t", "result": "ERROR"}\n')
    assert code == 1 and lines[-1] == "1 passed, 1 failed, 0 skipped"


def test_reasons_of_skips_in_tap(tmp_path):
    junit = """<testsuites><testsuite name="x"><testcase classname="x" name="p"><skipped/><system-out>1..0 # SKIP no p
</system-out></testcase></testsuite><testsuite name="x.q"><testcase classname="x.q" name="1 - one"/>
<testcase classname="x.q" name="2 - two"><skipped/></testcase><testcase classname="x.q" name="3 - three"><skipped/></testcase>
<system-out>1..3\nok 1 - one\n# no two\nok 2 - two # SKIP\nok 3 - three # SKIP no three\n</system-out></testsuite></testsuites>"""
    lines = summed(tmp_path, a_xml=junit)[1]
    assert [line.rpartition(": ")[2] for line in lines[:-1]] == ["no p", "no two", "no three"]
