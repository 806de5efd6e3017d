/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar archive read as its bytes come: ustar, v7, GNU (long names, base-256 numbers, sparse), PAX
 * (all keys that matter to a file system, sparse 0.0, 0.1 and 1.0). The archive is hostile: every
 * size is checked before it is believed, what must be kept in memory is capped, and nothing here
 * touches a file system.
 *
 * Where implementations disagree, disagreement is refused rather than resolved: a reader that sees
 * other members than the scanner before it did is an attack.
 */
#ifndef IMAGE_TAR_H
#define IMAGE_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct tar;

enum tar_type { TAR_FILE, TAR_LINK, TAR_SYMLINK, TAR_CHAR, TAR_BLOCK, TAR_DIR, TAR_FIFO };

/* struct tar_extent - data of a sparse file: bytes [off, off + len) */
struct tar_extent {
	uint64_t off, len;
};

/* struct tar_xattr - @name is the full name; NUL-terminated, without NUL inside */
struct tar_xattr {
	char *name;
	uint8_t *value;
	size_t len;
};

/*
 * struct tar_entry - one member; everything in it is valid during the call only, but for @map,
 * which is until the end of the member
 * @path:   as written, not empty, no NUL inside; may be absolute and hold ".."
 * @link:   target of TAR_LINK and TAR_SYMLINK, not empty; else ""
 * @mode:   permission bits, 07777
 * @size:   of the file when unpacked, holes included; 0 but for TAR_FILE
 * @map:    data of a sparse file, ascending and disjoint, no empty ones; NULL: not sparse
 * @xattrs: no two of one name
 */
struct tar_entry {
	enum tar_type type;
	const char *path, *link;
	uint32_t mode, uid, gid, major, minor, mtime_ns;
	int64_t mtime;
	uint64_t size;
	const struct tar_extent *map;
	size_t n_map;
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
};

/*
 * struct tar_ops - what to do with the members; a non-zero return ends the reading with it
 * @entry: a member begins
 * @data:  its data, in order, holes left out; only for TAR_FILE
 * @end:   a TAR_FILE is complete
 */
struct tar_ops {
	int (*entry)(void *ctx, const struct tar_entry *entry, struct err *err);
	int (*data)(void *ctx, const uint8_t *data, size_t len, struct err *err);
	int (*end)(void *ctx, struct err *err);
};

/* struct tar_limits - see struct layer_limits; all non-zero */
struct tar_limits {
	uint64_t max_file_bytes;
	uint32_t max_entries, max_path;
};

/* tar_new() - @ops and @ctx are borrowed until tar_free(). Return: 0 and *ret; -ENOMEM */
int tar_new(const struct tar_limits *limits, const struct tar_ops *ops, void *ctx, struct tar **ret,
	struct err *err);

/* tar_feed() - Return: 0; -EBADMSG not a valid archive, -E2BIG over a limit, or what @ops said */
int tar_feed(struct tar *t, const uint8_t *data, size_t len, struct err *err);

/*
 * tar_finish() - the bytes have ended. An archive may end without its two zero blocks, but not
 * inside a member. Return: 0; -EBADMSG
 */
int tar_finish(struct tar *t, struct err *err);

void tar_free(struct tar *t);

/* tar_entries() - members so far; tar_dropped(): members and attributes that were left out */
uint64_t tar_entries(const struct tar *t);
uint64_t tar_dropped(const struct tar *t);

#endif
