/* SPDX-License-Identifier: Apache-2.0 */
/* A root file system made of disks (agent-protocol 6.5), in place of the share we were started
 * from. */
#ifndef GUEST_ROOT_H
#define GUEST_ROOT_H

#include "lib/err.h"
#include "protocol/protocol.h"

/*
 * root_check() - can this agent build it?
 * Return: 0, also for none; -EINVAL malformed; -ENOTSUP another kind
 */
int root_check(const struct block_root *root, struct err *err);

/*
 * root_build() - mount the disks and make the result the root directory of this process, with
 * nothing mounted in it yet. Needs /dev and /sys. Does nothing without a root to build.
 * @ret_upper_fd: O_PATH on the file system that takes the writes, which has no path any more; left
 *                alone if none is to outlive the machine. The caller's
 * Return: 0; -errno, with one line that names the part that failed
 */
int root_build(const struct block_root *root, int *ret_upper_fd, struct err *err);

#endif
