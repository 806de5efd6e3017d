/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading EROFS images: layers, merged images and self-contained ones (uncompressed, no shared
 * xattrs: what we write). The bytes are not trusted: every offset is checked, every walk bounded.
 * Not thread-safe; different images are independent.
 */
#ifndef IMAGE_EROFS_H
#define IMAGE_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"

#define EROFS_BLOCK 4096u

struct erofs;

/*
 * struct erofs_inode - a file, checked
 * @nid:   its number, the same for all its hard links
 * @mode:  type and permissions as in stat(2)
 * @rdev:  as makedev(3) gives it; 0 but for devices
 * The other fields are the reader's own.
 */
struct erofs_inode {
	uint64_t nid, size;
	int64_t mtime;
	uint32_t mtime_ns, mode, uid, gid, nlink;
	dev_t rdev;

	uint16_t layout, xattr_icount;
	uint32_t raw; /* i_u */
	uint32_t isize;
};

/*
 * struct erofs_extent - where bytes of a file lie
 * @logical: offset in the file
 * @len:     bytes; may reach beyond the end of the file up to the next block
 * @device:  0 the image itself, else 1 + index of the extra device
 * @pos:     byte offset on that device; unused for a hole
 */
struct erofs_extent {
	uint64_t logical, len, pos;
	uint16_t device;
	bool hole;
};

/*
 * erofs_open() - take a look at an image
 * @fd:      regular file; borrowed until erofs_close()
 * @devices: the layers of a merged image in the order of its device table, borrowed too, or NULL:
 *	     then file data on devices cannot be read, all else can
 * Return: 0 and *ret; -EBADMSG not an image of ours, -errno
 */
int erofs_open(int fd, const int *devices, unsigned n_devices, struct erofs **ret, struct err *err);
void erofs_close(struct erofs *e);

/* erofs_blocks() - size of the image itself; erofs_inodes(): how many it says it has;
 * erofs_devices(): extra devices it needs */
uint32_t erofs_blocks(const struct erofs *e);
uint64_t erofs_inodes(const struct erofs *e);
unsigned erofs_devices(const struct erofs *e);

/* erofs_root() - nid of the root directory */
uint64_t erofs_root(const struct erofs *e);

/* erofs_get() - Return: 0 and *ret; -EBADMSG no such inode, or one that lies */
int erofs_get(struct erofs *e, uint64_t nid, struct erofs_inode *ret, struct err *err);

/*
 * erofs_lookup() - find a path
 * @path:   relative to the root, with or without leading '/'
 * @follow: symbolic links in the last component too; those before it are always followed, inside
 *	    the image, at most 40
 * Return: 0 and *ret; -ENOENT, -ENOTDIR, -ELOOP, -EBADMSG
 */
int erofs_lookup(
	struct erofs *e, const char *path, bool follow, struct erofs_inode *ret, struct err *err);

/*
 * erofs_list() - call @fn for each name of @dir, sorted bytewise, without "." and ".."
 * @fn: @name is NUL-terminated, valid during the call, and one component (path_name_ok()); a
 *	non-zero return ends the walk and is returned
 */
typedef int erofs_name_fn(void *ctx, const char *name, uint64_t nid, struct err *err);
int erofs_list(struct erofs *e, const struct erofs_inode *dir, erofs_name_fn *fn, void *ctx,
	struct err *err);

/*
 * erofs_xattrs() - call @fn for each xattr of @inode: full @name ("user.x"), NUL-terminated, and
 * its value; as erofs_list()
 */
typedef int erofs_xattr_fn(
	void *ctx, const char *name, const void *value, size_t len, struct err *err);
int erofs_xattrs(struct erofs *e, const struct erofs_inode *inode, erofs_xattr_fn *fn, void *ctx,
	struct err *err);

/*
 * erofs_map() - the extent that holds byte @off (< size) of a file, as long as it goes on
 * Return: 0 and *ret; -EBADMSG
 */
int erofs_map(struct erofs *e, const struct erofs_inode *inode, uint64_t off,
	struct erofs_extent *ret, struct err *err);

/*
 * erofs_read() - up to @len bytes of a file, directory or symbolic link
 * Return: bytes, 0 at the end; -EBADMSG, -ENXIO data lies on a device that was not given, -errno
 */
ssize_t erofs_read(struct erofs *e, const struct erofs_inode *inode, uint64_t off, void *buf,
	size_t len, struct err *err);

static inline void cleanup_erofs_fn(struct erofs **e)
{
	erofs_close(*e);
}

#define cleanup_erofs __attribute__((cleanup(cleanup_erofs_fn)))

#endif
