/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts a host asks for: checked as one plan, made parents first (agent-protocol 6.6). */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include "lib/err.h"
#include "protocol/protocol.h"

#define MOUNTS_MAX 256

/*
 * struct mount_plan_entry - one mount, ready for mount(2)
 * @path:   absolute, without "." and doubled or trailing slashes
 */
struct mount_plan_entry {
	char path[4096];
	const char *source, *type;
	unsigned long flags;
	char data[64];
};

/*
 * mounts_plan() - check and sort everything before anything is mounted
 * @ret: allocated, freed by the caller with free(); NULL for no mounts
 * Return: number of entries; -EINVAL (relative path, "..", "/", one path twice), -E2BIG, -ENOMEM
 */
int mounts_plan(const struct bootstrap *boot, struct mount_plan_entry **ret, struct err *err);

/* mounts_apply() - plan and mount. Return: 0, -errno. */
int mounts_apply(const struct bootstrap *boot, struct err *err);

#endif
