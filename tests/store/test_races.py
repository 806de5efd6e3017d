# SPDX-License-Identifier: Apache-2.0
"""Pulls, loads, runs, saves, removals and prunes beside each other, some of them killed: images stay right."""
import concurrent.futures
import hashlib
import random
import re
import signal
import subprocess
import time

from conftest import archive, files, images, layer

THREADS, EACH = 4, 12
LAYERS = [layer({f"{i}-{k}": random.Random(i * 10 + k).randbytes(100000) for k in range(6)}) for i in range(3)]


class Race:
    """Two images with one layer in common; each action is a command and what it may say when it fails."""

    def __init__(self, home, host, path):
        self.home = home
        pulled, loaded = f"{host}/a:1", "loaded:1"
        self.archive = archive(path / "loaded.tar", [loaded], *LAYERS[1:])
        gone, used = "image not (found|cached): ", "is used by "
        self.actions = [
            (["pull", "-q", pulled], None),
            (["load", "-q", "-i", self.archive], None),
            (["run", "--kernel", "/nowhere", pulled, "--", "true"], "/nowhere"),
            (["image", "prune", "-y", "-q"], None),
            (["image", "rm", "-q", pulled], f"{gone}|{used}"),
            (["image", "rm", "-q", loaded], f"{gone}|{used}"),
            (["image", "rm", "-q", "-f", loaded], gone),
        ]
        self.images = {pulled: path / "pulled.tar", loaded: path / "saved.tar"}
        for name, target in self.images.items():
            self.actions.append((["save", "-q", name, "-o", target.with_suffix("")], gone))

    def right(self, name):
        """What the image is when nobody disturbs."""
        self.home.ok("save", "-q", name, "-o", self.images[name])
        return hashlib.sha256(self.images[name].read_bytes()).hexdigest()

    def one(self, rng):
        args, may_say = rng.choice(self.actions)
        if args[0] == "save":  # a file of its own, which is looked at before anybody else writes it
            args = [*args[:-1], f"{args[-1]}-{rng.random()}"]
        process = self.home.start(*args)
        if rng.random() < 0.3:
            time.sleep(rng.random() / 10)  # not waited for: any moment is as good
            process.send_signal(signal.SIGKILL)
            process.communicate()
            return None
        _, err = process.communicate(timeout=120)
        if process.returncode == 0:
            return (args[2], args[-1]) if args[0] == "save" else None
        assert process.returncode == 1 and err.count("\n") == 1, (args, err)
        assert may_say and re.search(may_say, err), (args, err)
        return None

    def many(self, seed):
        rng = random.Random(seed)
        return [saved for saved in (self.one(rng) for _ in range(EACH)) if saved]


def test_everything_beside_everything(home, tmp_path):
    with images(home, *LAYERS[:2]) as host:
        race = Race(home, host, tmp_path)
        home.ok("pull", "-q", f"{host}/a:1")
        home.ok("load", "-q", "-i", race.archive)
        right = {name: race.right(name) for name in race.images}
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            for saved in pool.map(race.many, range(THREADS)):
                for name, path in saved:
                    with open(path, "rb") as stream:
                        assert hashlib.file_digest(stream, "sha256").hexdigest() == right[name]
        home.ok("pull", "-q", f"{host}/a:1")
        home.ok("load", "-q", "-i", race.archive)
        assert {name: race.right(name) for name in race.images} == right
    for image in (home.path / "cache/layers").glob("*.erofs"):
        subprocess.run(["fsck.erofs", image], check=True, capture_output=True)
    assert home.catalogue().execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert home.catalogue().execute("PRAGMA foreign_key_check").fetchall() == []
    home.ok("image", "prune", "-y", "-q")
    assert [f for f in files(home.path / "cache") if not f.endswith(".lock")] == []
