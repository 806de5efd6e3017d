/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker gives up. Before preparing: the launcher's descriptors, terminal and signals.
 * Before the first guest instruction: new privileges, other programs, new sockets (but for those
 * of a guest's network: TCP, UDP and ping, to connect), and every path outside the shared
 * directories.
 */
#ifndef RUNTIME_CONFINE_H
#define RUNTIME_CONFINE_H

#include <stdbool.h>

#include "lib/err.h"
#include "vmm/vmm.h"

#define CONFINE_MAX_KEEP 512

/*
 * confine_detach() - leave the launcher's world: own session, default signals, /dev/null as 0, 1
 * and 2, and of the other descriptors only @keep (negative entries are skipped; at most
 * CONFINE_MAX_KEEP); no core dumps; as many descriptors as the hard limit allows
 */
int confine_detach(const int *keep, unsigned n_keep, struct err *err);

/*
 * confine_seal() - no way back: no environment, no_new_privs, few capabilities, Landlock (where the
 * kernel has it) and seccomp; for the calling thread and those that it starts later, so it must be
 * the only one
 * @root_fd, @read_only: the directories and files that stay reachable by path, @n of them
 * @network: the machine has one, whose stack opens sockets here
 * Return: 0; -errno if a kernel that has the mechanism refuses it
 */
int confine_seal(
	const int *root_fd, const bool *read_only, unsigned n, bool network, struct err *err);

#endif
