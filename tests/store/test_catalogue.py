# SPDX-License-Identifier: Apache-2.0
"""The catalogue, beside one that upstream's release 0.5.10 made. tests/store/upstream runs that release itself."""
import os
import pathlib
import signal
import sqlite3

import pytest

UPSTREAM = pathlib.Path(__file__).with_name("upstream-0.5.10.sql")
DIGEST = "sha256:7c28413d197bc09e038eb523bc9e35dc28cb367d626daace7a583d5ade82bd88"


@pytest.fixture
def upstream(home):
    """A home folder with upstream's catalogue."""
    (home.path / "db").mkdir(parents=True)
    (home.path / "volumes/data").mkdir(parents=True)
    with home.catalogue() as db:
        db.executescript(UPSTREAM.read_text())
        db.execute("PRAGMA journal_mode = WAL")
    return home


def schema(db):
    return set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'"))


def test_the_schema_is_upstreams_to_the_letter(home, tmp_path):
    home.ok("volume", "create", "data")
    with sqlite3.connect(tmp_path / "upstream.db") as theirs:
        theirs.executescript(UPSTREAM.read_text())
        ours = home.catalogue()
        assert schema(ours) == schema(theirs)
        versions = "SELECT version FROM seaql_migrations ORDER BY version"
        assert ours.execute(versions).fetchall() == theirs.execute(versions).fetchall()
        assert len(ours.execute(versions).fetchall()) == 13
    assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_upstreams_catalogue_is_read(upstream):
    before = list(upstream.catalogue().iterdump())
    assert upstream.ok("image", "ls", "-q") == "other.example.com:5000/x/y:1\ntoy:latest\n"
    toy = upstream.json("image", "inspect", "toy")
    assert toy["digest"] == DIGEST and toy["reference"] == "toy:latest" and toy["size_bytes"] == 81920
    assert toy["config"]["env"] == ["PATH=/bin", "A=b"] and toy["config"]["labels"] is None
    assert [layer["position"] for layer in toy["layers"]] == [0, 1]
    assert upstream.ok("volume", "ls", "-q") == "disk1\ndata\n"
    assert list(upstream.catalogue().iterdump()) == before, "reading has changed something"


def test_upstreams_catalogue_is_changed(upstream):
    upstream.ok("volume", "create", "more")
    upstream.ok("volume", "rm", "data")
    upstream.ok("image", "rm", "docker.io/library/toy:latest")
    db = upstream.catalogue()
    assert db.execute("SELECT name FROM volume ORDER BY id").fetchall() == [("disk1",), ("more",)]
    assert db.execute("SELECT reference FROM image_ref").fetchall() == [("other.example.com:5000/x/y:1",)]
    assert db.execute("SELECT count(*) FROM manifest_layer").fetchone() == (2,)
    upstream.ok("image", "rm", "other.example.com:5000/x/y:1")
    for table in ("image_ref", "manifest", "config", "layer", "manifest_layer"):
        assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table


def test_images_of_sandboxes_stay(upstream):
    with upstream.catalogue() as db:
        db.execute("INSERT INTO sandbox (name, config, status) VALUES ('box', '{}', 'Stopped')")
        db.execute("INSERT INTO sandbox_rootfs (sandbox_id, manifest_id, mode) VALUES (1, 1, 'erofs')")
    done = upstream.run("image", "rm", "toy")
    assert done.returncode == 1 and "used by sandbox 'box'" in done.stderr
    pruned = upstream.json("image", "prune", "-y")
    assert pruned["image_refs_removed"] == 0
    upstream.ok("image", "rm", "-f", "toy")
    assert upstream.ok("image", "ls", "-q") == "other.example.com:5000/x/y:1\n"


def test_prune(upstream):
    refused = upstream.run("image", "prune")
    assert refused.returncode == 1
    assert refused.stderr == "error: non-interactive terminal; use --yes to prune cached images\n"
    pruned = upstream.json("image", "prune", "--yes")
    assert sorted(pruned) == ["bytes_reclaimed", "fsmeta_removed", "image_refs_removed", "layers_removed",
                              "manifests_removed", "vmdk_removed"]
    assert (pruned["image_refs_removed"], pruned["manifests_removed"]) == (2, 1)
    assert upstream.run("image", "prune", "-y").stderr == "Nothing to prune.\n"


@pytest.mark.parametrize("args, code, words", [
    (["rm", "nope"], 1, "image not found: nope"),
    (["rm", "UPPER/case"], 1, "UPPER/case"),
    (["rm"], 2, "missing argument: REFERENCE"),
    (["inspect", "nope"], 1, "image not found: nope"),
    (["tag", "nope", "other"], 1, "image not found: nope"),
    (["tag", "nope"], 2, "missing argument: NEW_REFERENCE"),
    (["ls", "extra"], 2, "unexpected argument 'extra'"),
])
def test_wrong_words(home, args, code, words):
    done = home.run("image", *args)
    assert done.returncode == code and words in done.stderr and done.stdout == ""


def test_kills_leave_a_sound_catalogue(home):
    """SIGKILL at any moment: what msb has reported is there, and the catalogue is sound."""
    home.ok("volume", "create", "first")
    for i in range(10):
        process = home.start("volume", "create", f"v{i}")
        if i % 2:
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        db = home.catalogue()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = home.ok("volume", "ls", "-q").split()
        assert "first" in names
        if i % 2:
            assert f"v{i}" in names
    for name in home.ok("volume", "ls", "-q").split():
        home.ok("volume", "rm", name)


def test_a_catalogue_nobody_may_write_is_read(upstream):
    db = upstream.catalogue()
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    os.chmod(upstream.path / "db/msb.db", 0o444)
    os.chmod(upstream.path / "db", 0o555)
    assert "toy:latest\n" in upstream.ok("image", "ls", "-q")
    assert [p.name for p in (upstream.path / "db").iterdir()] == ["msb.db"]
    os.chmod(upstream.path / "db", 0o755)
