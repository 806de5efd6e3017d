/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fresh ext4 file systems in sparse files: the writable layer over an image's root, and disks of
 * named volumes.
 *
 * The host makes such a file system but never reads one again: what a guest has written into it
 * is the guest's, and its own kernel is the one to look at it. So growing is done in two halves:
 * upper_grow() makes the file longer while no guest uses it, and agentd asks the guest's kernel to
 * fill the device (EXT4_IOC_RESIZE_FS) after mounting. Room for that is in each file system: the
 * resize inode's for 1 TiB, and the kernel goes on without it (meta_bg).
 */
#ifndef BLOCK_UPPER_H
#define BLOCK_UPPER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

#define UPPER_MIN     (UINT64_C(16) << 20)
#define UPPER_MAX     (UINT64_C(16) << 40)
#define UPPER_DEFAULT (UINT64_C(4096) << 20)

/*
 * struct upper_config - @size: bytes, UPPER_MIN to UPPER_MAX, a multiple of 4096
 * @dirs: names of directories in the root (0755, 0:0), NULL-terminated; NULL: an empty root.
 * Nothing else is there, no lost+found either.
 * @durable: on stable storage when the call returns (a volume); otherwise with the guest's first
 * flush (the writable layer of a sandbox that is about to start)
 */
struct upper_config {
	uint64_t size;
	const char *const *dirs;
	bool durable;
};

/*
 * upper_create() - a file with a new file system: random UUID, no blocks reserved for root, every
 * block that is not written a hole; takes milliseconds
 * @dir_fd, @name: where; nothing of that name may exist. Mode 0600. The name appears with a file
 * that is complete.
 * Return: 0; -EINVAL size; -EEXIST; -errno
 */
int upper_create(int dir_fd, const char *name, const struct upper_config *cfg, struct err *err);

/*
 * upper_grow() - make the file at least @size long, the new part a hole; a longer one stays
 * @fd: open for writing; no machine may be using the file
 * Return: 0; -EINVAL size as in upper_create(); -errno
 */
int upper_grow(int fd, uint64_t size, struct err *err);

#endif
