/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QEMU gives up before it runs. The guest's code is emulated by it, so a guest that breaks out
 * is in there first: no new sockets, no other processes, nothing of the host's files but programs,
 * libraries and system settings, which it may read. Its own -sandbox forbids starting programs.
 */
#ifndef VMM_QEMU_SANDBOX_H
#define VMM_QEMU_SANDBOX_H

#include <stdbool.h>

#include "lib/err.h"
#include "lib/seccomp.h"

/* struct qemu_sandbox - @ruleset: of Landlock; -1: the kernel has none */
struct qemu_sandbox {
	struct seccomp filter;
	int ruleset;
};

/*
 * qemu_sandbox_init() - what qemu_sandbox_enter() will do
 * @program_fd: it and what is installed beside it stay readable
 * @fake_connect: QEMU's vhost-user network wants a socket that it connected itself to a path: the
 *	only kind of which it believes that descriptors can be sent. So that it need not be allowed
 *	to make any, its attempt succeeds without being made, and gives it descriptor 0, which its
 *	parent connected.
 * Return: 0 (qemu_sandbox_release()); -errno
 */
int qemu_sandbox_init(struct qemu_sandbox *s, int program_fd, bool fake_connect, struct err *err);
void qemu_sandbox_release(struct qemu_sandbox *s);

/* qemu_sandbox_enter() - for a child between clone and exec, with no_new_privs set;
 * async-signal-safe. Return: 0; -1 and errno */
int qemu_sandbox_enter(struct qemu_sandbox *s);

#endif
