/* SPDX-License-Identifier: Apache-2.0 */
/* The mounts a host asks for: checked as one plan, made parents first (agent-protocol 6.6). */
#ifndef GUEST_MOUNTS_H
#define GUEST_MOUNTS_H

#include "lib/err.h"
#include "protocol/protocol.h"

#define MOUNTS_MAX 256

/* MOUNT_PLAIN: as mount(2) takes it. MOUNT_FILE: @filename of the share. MOUNT_DISK: @source is the
 * disk's serial, @type may be none. */
enum mount_kind { MOUNT_PLAIN, MOUNT_FILE, MOUNT_DISK };

/*
 * struct mount_plan_entry - one mount
 * @path:   absolute, without "." and doubled or trailing slashes
 */
struct mount_plan_entry {
	enum mount_kind kind;
	char path[4096];
	const char *source, *filename, *type;
	unsigned long flags;
	char data[64];
};

/*
 * mounts_plan() - check and sort everything before anything is mounted
 * @ret: allocated, freed by the caller with free(); NULL for no mounts
 * Return: number of entries; -EINVAL (relative path, "..", "/", one path twice, below a
 * file), -E2BIG, -ENOMEM
 */
int mounts_plan(const struct bootstrap *boot, struct mount_plan_entry **ret, struct err *err);

/* mounts_apply() - plan and mount. Return: 0, -errno. */
int mounts_apply(const struct bootstrap *boot, struct err *err);

#endif
