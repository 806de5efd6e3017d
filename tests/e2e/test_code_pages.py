# SPDX-License-Identifier: Apache-2.0
"""What the guest runs is what is in its memory, also where a device put it there.

On the qemu engine the guest's code is translated, and our devices write guest memory behind the translator's back. Two programs
of the same shape, whose every page of code is at the same address, take turns in the same few pages of memory.
"""
import subprocess

PAGES = 1500
ROUNDS = 5


def program(folder, number):
    """A program that calls a function on each of its pages, and counts those that do not return what they should."""
    base = number * 100000
    functions = "".join(
        f'__attribute__((noinline, noclone, aligned(4096))) static int f{i}(void) {{ asm volatile(""); return {base + i}; }}\n'
        for i in range(PAGES)
    )
    table = ", ".join(f"f{i}" for i in range(PAGES))
    source = folder / f"p{number}.c"
    source.write_text(
        f"#include <stdio.h>\n{functions}static int (*const f[])(void) = {{ {table} }};\n"
        f"int main(void) {{ int bad = 0; for (int i = 0; i < {PAGES}; i++) bad += f[i]() != {base} + i;\n"
        f'printf("%d of {PAGES} pages run old code\\n", bad); return bad != 0; }}\n',
        encoding="ascii",
    )
    subprocess.run(["gcc", "-O1", "-static", "-no-pie", "-s", "-o", source.with_suffix(""), source], check=True)
    return source.with_suffix("")


def test_pages_that_are_used_again_run_their_new_code(msb, busybox, tmp_path):
    for number in (1, 2):
        program(tmp_path, number)
    once = "".join(f"echo 3 >/proc/sys/vm/drop_caches; /p/p{number}; " for number in (1, 2))
    result = msb.sh(busybox, once * ROUNDS, "-v", f"{tmp_path}:/p", "-m", "256M")
    assert result.text.splitlines() == [f"0 of {PAGES} pages run old code"] * 2 * ROUNDS, result.err
