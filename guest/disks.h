/* SPDX-License-Identifier: Apache-2.0 */
/* Disks of the machine: found by their serial, mounted with a given type or with what fits. */
#ifndef GUEST_DISKS_H
#define GUEST_DISKS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "protocol/protocol.h"

#define DISK_PATH_MAX 64

/*
 * disk_find() - the device node of a disk
 * @device: DISK_BY_ID and a serial, which is waited for a moment; or a path, taken as it is
 * Return: 0; -EINVAL no absolute path, or too long; -ENOENT no disk with this serial
 */
int disk_find(struct text device, char dst[DISK_PATH_MAX], struct err *err);

/* disk_find_id() - the same by the serial alone. */
int disk_find_id(struct text id, char dst[DISK_PATH_MAX], struct err *err);

/*
 * disk_mount() - mount the file system on a device node
 * @fstype: NULL or empty: try every type of /proc/filesystems that needs a device
 * @flags:  of mount(2). Writable ones give the space of deleted files back, where the type knows
 *          how; a read-only ext4 is not recovered
 * Return: 0; -errno, -EINVAL also if no type fits. The message names no disk: wrap it
 */
int disk_mount(const char *node, const char *target, const char *fstype, unsigned long flags,
	struct err *err);

/*
 * disk_grow() - make the ext4 file system mounted at @target as large as its device @node, if it is
 * smaller; its journal makes that safe to interrupt
 * Return: 0; -errno. The message names no disk: wrap it
 */
int disk_grow(const char *node, const char *target, struct err *err);

#endif
