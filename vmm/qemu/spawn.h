/* SPDX-License-Identifier: Apache-2.0 */
/* Finding and starting the QEMU program so that it cannot outlive us. */
#ifndef VMM_QEMU_SPAWN_H
#define VMM_QEMU_SPAWN_H

#include <sys/types.h>

#include "lib/err.h"

#define QEMU_PROGRAM "qemu-system-x86_64"
#define QEMU_ENV     "MSB_QEMU" /* a path to use instead of searching PATH */
#define QEMU_PACKAGE "qemu-system-x86"

/*
 * qemu_find() - open the program: $MSB_QEMU, else PATH
 * @ret_path: where it was found, for messages; room for PATH_MAX bytes
 * Return: 0 and *ret_fd (O_PATH, the caller's); -ENOENT not installed (the message names the
 * package); -EACCES not executable
 */
int qemu_find(char *ret_path, int *ret_fd, struct err *err);

/* struct qemu_child - a running program */
struct qemu_child {
	pid_t pid;
	int pidfd;     /* readable once it has ended */
	int output_fd; /* read end: what it prints on stdout and stderr; non-blocking */
};

/*
 * qemu_spawn() - start @program_fd with @argv
 * @net_fd: becomes its descriptor 0 and what it gets when it connects to a Unix socket, see
 *	    sandbox.h; -1: 0 is /dev/null, and it cannot
 * The child gets the descriptors @inherit, none other; an empty environment; the folder / ; no way
 * to gain privileges; user nobody if we are root; what sandbox.h leaves of the host. It is killed
 * when the calling thread ends, however that happens.
 * Return: 0 and *ret_child; -errno when it could not be started, exec included
 */
int qemu_spawn(int program_fd, char *const argv[], const int *inherit, unsigned n_inherit,
	int net_fd, struct qemu_child *ret_child, struct err *err);

/* qemu_child_kill() - harmless once it has ended; async-signal-safe */
void qemu_child_kill(const struct qemu_child *child);

/* qemu_child_end() - kill it if it still runs, reap it, close; fine on a zeroed or ended child. */
void qemu_child_end(struct qemu_child *child);

/*
 * qemu_child_reap() - wait for a child that has ended or is about to
 * Return: wait status as waitpid(2) gives it
 */
int qemu_child_reap(struct qemu_child *child);

#endif
