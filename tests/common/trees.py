# SPDX-License-Identifier: Apache-2.0
"""What is in a tree, as seen by treelist.c, which is the same program on the host and in a guest."""
import functools
import os
import pathlib
import subprocess
import tempfile
import urllib.parse


def run(*args, **kw):
    result = subprocess.run([str(a) for a in args], capture_output=True, text=True, check=False, timeout=120, **kw)
    assert result.returncode == 0, f"{args[0]}: {result.stderr or result.stdout}"
    return result.stdout


@functools.cache
def compiled():
    """(folder, the program in it): static, so that it runs in any guest; the folder lives as long as we do."""
    folder = tempfile.TemporaryDirectory(prefix="treelist-")
    program = pathlib.Path(folder.name) / "treelist"
    run("gcc", "-static", "-O2", "-s", "-Wall", "-Werror", "-D_GNU_SOURCE", pathlib.Path(__file__).with_name("treelist.c"),
        "-o", program, "-lcrypto")
    return folder, program


def treelist():
    return compiled()[1]


def unquote(text):
    return os.fsdecode(urllib.parse.unquote_to_bytes(text))


def parse_line(line):
    words = [word.split("=", 1) for word in line.split()]
    plain = {k: v for k, v in words if not k.startswith("x:")}
    path = unquote(plain["path"])
    seconds, nanoseconds = plain["mtime"].split(".")
    return path, {
        "mode": oct(int(plain["mode"], 8)), "owner": tuple(map(int, plain["owner"].split(":"))),
        "mtime": int(seconds) * 10**9 + int(nanoseconds), "nlink": int(plain["nlink"]),
        "rdev": plain.get("rdev"), "link": unquote(plain["link"]) if "link" in plain else None,
        "size": int(plain.get("size", 0)), "data": plain.get("data"), "first": unquote(plain.get("same", plain["path"])),
        "xattrs": {unquote(k[2:]): bytes.fromhex(v) for k, v in words if k.startswith("x:")},
    }


def parse(text):
    """{source: {path: entry}}; an entry has the names of all hard links of its inode, and its contents with each."""
    trees = {}
    for line in text.splitlines():
        if line.startswith("# "):
            tree = trees[line[2:]] = {}
        else:
            path, entry = parse_line(line)
            tree[path] = entry
    for tree in trees.values():
        names = {}
        for path, entry in tree.items():
            entry["data"] = tree[entry["first"]]["data"]
            names.setdefault(entry.pop("first"), []).append(path)
        for group in names.values():
            for path in group:
                tree[path]["names"] = group
    return trees


def tree(root):
    """Everything stat, readlink, listxattr and read say, by path; hard links as the group of names they are."""
    return parse(run(treelist(), root))[str(root)]


def differences(want, got, ignore=()):
    """@ignore: names of fields, or (path, field)"""
    lines = [f"missing: {p}" for p in sorted(want.keys() - got.keys())]
    lines += [f"too many: {p}" for p in sorted(got.keys() - want.keys())]
    for path in sorted(want.keys() & got.keys()):
        lines += [f"{path}: {k} is {got[path][k]}, not {v}" for k, v in want[path].items()
                  if got[path][k] != v and (path, k) not in ignore and k not in ignore]
    return lines
