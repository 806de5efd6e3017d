/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Named volumes: folders and disks that outlive sandboxes. HOME/volumes/<name>/ is the folder that
 * is shared, or holds disk.raw. images.md 6.5.
 *
 * Who uses a volume holds a flock: on the folder, shared by any number of sandboxes; on the disk,
 * exclusive to write and shared to read. It is on the descriptor that volume_use() gives, so it
 * lasts as long as any process has that open. HOME/volumes/.locks/<name>.lock is held while a
 * volume is created or removed.
 */
#ifndef STORE_VOLUME_H
#define STORE_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/cleanup.h"
#include "lib/err.h"
#include "store/catalogue.h"

struct store;

/* The disk of a volume of that kind, in its folder. */
#define VOLUME_DISK_NAME   "disk.raw"
#define VOLUME_DISK_FORMAT "raw"
#define VOLUME_DISK_FSTYPE "ext4"

/* volume_format_fn - make the file @name below @dirfd: a disk of @size bytes with an empty ext4 */
typedef int volume_format_fn(int dirfd, const char *name, uint64_t size, struct err *err);

/*
 * struct volume_spec - what is wanted
 * @quota_mib: most that guests may add to a folder, 0: no limit
 * @capacity:  bytes of a disk, 0 for a folder
 * @labels:    "KEY=VALUE", NULL-terminated; NULL: none
 * @format:    needed for disks
 */
struct volume_spec {
	const char *name;
	enum volume_kind kind;
	uint64_t quota_mib, capacity;
	const char *const *labels;
	volume_format_fn *format;
};

/* volume_check_name() - Return: 0; -EINVAL and the rule */
int volume_check_name(const char *name, struct err *err);

/* volume_create() - Return: 0; -EEXIST; -EINVAL name, or quota and capacity do not fit the kind */
int volume_create(struct store *store, const struct volume_spec *spec, struct err *err);

/*
 * volume_ensure() - create it if there is none, else check that it is what is wanted: kind, a given
 * quota or capacity, and given labels
 * @ret_created: may be NULL; for undoing it with volume_remove() when a later step fails
 * Return: 0; -EEXIST there is another one, the message says what differs
 */
int volume_ensure(
	struct store *store, const struct volume_spec *spec, bool *ret_created, struct err *err);

/* volume_path() - the folder, or the disk; free it. For messages: use the descriptor. */
int volume_path(
	const struct store *store, const struct volume_info *v, char **ret, struct err *err);

/*
 * struct volume_use - a volume that is in use until @fd and its duplicates are closed
 * @fd: the folder (for reading: as the root of a share), or the disk (for writing unless read-only)
 * @quota: bytes that may be added to a folder, 0: no limit
 */
struct volume_use {
	enum volume_kind kind;
	int fd;
	uint64_t quota;
};

#define VOLUME_USE_INIT ((struct volume_use){ .fd = -1 })

/*
 * volume_use() - for a sandbox, as long as it runs
 * Return: 0 and *ret (volume_use_release()); -ENOENT; -EBUSY a disk that another one writes, or, if
 * it is to be written here, uses
 */
int volume_use(struct store *store, const char *name, bool read_only, struct volume_use *ret,
	struct err *err);
void volume_use_release(struct volume_use *use);
#define cleanup_volume_use cleanup_(volume_use_release)

/*
 * volume_remove() - with everything in it
 * Return: 0; -ENOENT; -EBUSY: a sandbox uses it
 */
int volume_remove(struct store *store, const char *name, struct err *err);

#endif
