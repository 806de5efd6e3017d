/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU gives up before it runs. The guest's code is emulated by it, so a guest that breaks out
 * is in there first: no new sockets, no other processes, nothing of the host's files but programs,
 * libraries and system settings, which it may read. Its own -sandbox forbids starting programs.
 */
#ifndef VMM_QEMU_SANDBOX_H
#define VMM_QEMU_SANDBOX_H

#include "lib/err.h"
#include "lib/seccomp.h"

/* struct qemu_sandbox - @ruleset: of Landlock; -1: the kernel has none */
struct qemu_sandbox {
	struct seccomp filter;
	int ruleset;
};

/* qemu_sandbox_init() - @program_fd: it and what is installed beside it stay readable. Return: 0
 * (qemu_sandbox_release()); -errno */
int qemu_sandbox_init(struct qemu_sandbox *s, int program_fd, struct err *err);
void qemu_sandbox_release(struct qemu_sandbox *s);

/* qemu_sandbox_enter() - for a child between clone and exec, with no_new_privs set;
 * async-signal-safe. Return: 0; -1 and errno */
int qemu_sandbox_enter(struct qemu_sandbox *s);

#endif
