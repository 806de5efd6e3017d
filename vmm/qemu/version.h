/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which QEMU it is: asked of the program itself, which takes it some 20 ms, so that the question is
 * put early and the answer taken when it is needed.
 */
#ifndef VMM_QEMU_VERSION_H
#define VMM_QEMU_VERSION_H

#include <stdbool.h>

#include "vmm/qemu/spawn.h"

/* struct qemu_version - of "QEMU emulator version 7.2.22 (...)"; 0.0: unknown */
struct qemu_version {
	unsigned major, minor;
};

/* qemu_version_ask() - start @program_fd so that it says its version; see qemu_spawn() */
int qemu_version_ask(int program_fd, struct qemu_child *ret_child, struct err *err);

/*
 * qemu_version_take() - wait for the answer and end @child; fine on a zeroed one
 * Return: the version; 0.0 if it said none, or not within seconds
 */
struct qemu_version qemu_version_take(struct qemu_child *child);

/* qemu_version_parse() - of the program's words; 0.0: there is none in them */
struct qemu_version qemu_version_parse(const char *text);

/*
 * qemu_version_runs_vcpus_in_parallel() - whether TCG with a thread per vCPU is right
 *
 * Before 8.1 QEMU translated code without holding its page: a vCPU that translated what another
 * was just writing could keep the old translation for good. A kernel that patches its own code
 * then runs into a breakpoint long since gone ("Oops: int3"); on a busy machine one boot in ten
 * ended like that.
 */
bool qemu_version_runs_vcpus_in_parallel(struct qemu_version v);

#endif
