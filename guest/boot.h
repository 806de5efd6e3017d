/* SPDX-License-Identifier: Apache-2.0 */
/* What PID 1 does before it can serve: file systems, the port, names, loopback (agent-protocol 6).
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include "lib/err.h"
#include "protocol/protocol.h"

/* boot_mount_first() - /dev and /sys, which finding the port and disks needs; and descriptors 0-2
 * on the kernel console if the kernel found none. Once more after the root has changed. Return: 0,
 * -errno. */
int boot_mount_first(struct err *err);

/* boot_open_port() - open the console port @name, waiting for it to appear. Return: 0 and *ret_fd
 * (non-blocking, the caller's); -ETIMEDOUT, -errno. */
int boot_open_port(const char *name, int timeout_ms, int *ret_fd, struct err *err);

/* boot_mount_rest() - /proc, cgroups, terminals, shared memory. Return: 0, -errno. */
int boot_mount_rest(struct err *err);

/* boot_apply() - what the host asked for: limits, mounts, hostname, network; loopback and /tmp.
 * Return: 0, -errno. */
int boot_apply(const struct bootstrap *boot, struct err *err);

#endif
