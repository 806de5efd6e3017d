# SPDX-License-Identifier: Apache-2.0
"""Kernels that boot and are not what they seem: that of libkrunfw as an ELF file, with words changed."""
import ctypes
import pathlib
import re
import struct
import subprocess

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PVH_NOTE = struct.pack("<I4s", 18, b"Xen\0")


def bundle():
    """Where the image of libkrunfw is to lie, its entry, its bytes."""
    made = subprocess.run([SOURCE / "scripts/fetch-kernel"], capture_output=True, text=True, check=True)
    library = ctypes.CDLL(str(pathlib.Path(made.stdout.strip(), "libkrunfw.so.5")))
    library.krunfw_get_kernel.restype = ctypes.c_void_p
    load, entry, size = (ctypes.c_size_t() for _ in range(3))
    image = library.krunfw_get_kernel(ctypes.byref(load), ctypes.byref(entry), ctypes.byref(size))
    return load.value, entry.value, ctypes.string_at(image, size.value)


def replace(data, old, new):
    """Every match of a regular expression, in place."""
    def fit(match):
        text = match.expand(new)
        assert len(text) == len(match[0]), (text, match[0])
        return text

    data, count = re.subn(old, fit, data)
    assert count, old
    return data


def make_kernel(path, *changes):
    """An ELF file with one segment and the note that QEMU enters it by."""
    load, entry, data = bundle()
    at = data.index(PVH_NOTE) - 8
    note = data[at:at + 16 + struct.unpack_from("<I", data, at + 4)[0]]
    for old, new in changes:
        data = replace(data, old, new)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 7, 4096, load, load, len(data), len(data), 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, 256, 0, 0, len(note), len(note), 4)
    head = (header + segment + notes).ljust(256, b"\0") + note
    path.write_bytes(head.ljust(4096, b"\0") + data)
    return path
