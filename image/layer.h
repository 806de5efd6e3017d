/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One image layer, from the bytes a registry sends to an EROFS image, in one pass and without a
 * temporary tar: feed compressed bytes as they come, finish, publish the file.
 *
 *	layer_new(fd, NULL, &l, err);
 *	while (bytes come)
 *		layer_feed(l, bytes, n, err);
 *	layer_finish(l, &result, err);
 *	layer_free(l);
 *
 * File data goes to the file as it streams; only metadata is kept in memory, so that memory does
 * not grow with the size of a layer. The same tar gives the same image, byte for byte.
 *
 * What overlayfs would understand stays understandable in a layer's image: a whiteout is a
 * character device 0:0, an opaque directory has the xattr trusted.overlay.opaque=y. Two facts that
 * have no such form are kept in xattrs of our own, which merging takes out again:
 *	trusted.msb.implied   a directory (or the root) that the tar had no entry for: its
 *			      attributes mean nothing where a lower layer has the directory
 *	trusted.msb.link      an empty file standing for a hard link whose target this layer did
 *			      not have (yet); the value is the target's path without leading '/'
 * An archive cannot bring its own: trusted.overlay.* and trusted.msb.* are dropped on the way in.
 */
#ifndef IMAGE_LAYER_H
#define IMAGE_LAYER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct layer;

enum layer_compression { LAYER_PLAIN, LAYER_GZIP, LAYER_ZSTD };

#define LAYER_DIGEST_LEN (sizeof("sha256:") + 64)

#define LAYER_XATTR_OPAQUE  "trusted.overlay.opaque"
#define LAYER_XATTR_IMPLIED "trusted.msb.implied"
#define LAYER_XATTR_LINK    "trusted.msb.link"

/*
 * struct layer_limits - what an archive may cost us; a field of 0 takes the default
 * @max_tar_bytes:   uncompressed archive, 12 GiB
 * @max_total_bytes: sum of the files' sizes (holes count), 10 GiB
 * @max_file_bytes:  one file's size, 5 GiB
 * @max_meta_bytes:  memory for names, xattrs, link targets and the like, 512 MiB
 * @max_entries:     members of the archive, 1,000,000
 * @max_path:        bytes of a path or link target, 4096
 * @max_depth:       components of a path, 128
 * @max_ratio:       uncompressed to compressed bytes, looked at beyond an eighth of @max_tar_bytes:
 * 256
 */
struct layer_limits {
	uint64_t max_tar_bytes, max_total_bytes, max_file_bytes, max_meta_bytes;
	uint32_t max_entries, max_path, max_depth, max_ratio;
};

/*
 * struct layer_options - how to make it
 * @own_meta_bytes: of metadata that a layer may have without asking; 0: 64 MiB, which are 300,000
 *		    small files
 * @more_memory:    called once, when it is about to need more: may wait, so that not everybody
 *		    needs so much at once; a failure ends the layer with it. NULL: nobody minds
 */
struct layer_options {
	struct layer_limits limits;
	uint64_t own_meta_bytes;
	int (*more_memory)(void *ctx, struct err *err);
	void *ctx;
};

/*
 * struct layer_result - what went through
 * @diff_id:     "sha256:..." of the uncompressed archive with everything that follows its end
 * @blob_digest: "sha256:..." of what was fed, @blob_size bytes
 * @erofs_size:  length of the image, a multiple of 4096
 * @entries:     members of the archive
 * @inodes:      in the image
 * @file_bytes:  sum of the sizes of regular files, each inode counted once
 * @dropped:     members and xattrs that no file system on Linux can hold (sockets, foreign xattrs)
 */
struct layer_result {
	char diff_id[LAYER_DIGEST_LEN], blob_digest[LAYER_DIGEST_LEN];
	enum layer_compression compression;
	uint64_t blob_size, tar_size, erofs_size;
	uint64_t entries, inodes, file_bytes, dropped;
};

/*
 * layer_new() - begin a layer
 * @out_fd:  an empty regular file opened for reading and writing; borrowed until layer_free(). The
 *	     caller syncs and publishes it after layer_finish(), or drops it.
 * @options: may be NULL
 * Return: 0 and *ret; -errno. One thread at a time may use a layer; different layers are
 * independent.
 */
int layer_new(int out_fd, const struct layer_options *options, struct layer **ret, struct err *err);

/*
 * layer_feed() - the next bytes of the blob: gzip (any number of members), zstd (any number of
 * frames) or a plain tar, told apart by their first bytes; any piece size
 * Return: 0; -EBADMSG not such a stream or archive, -E2BIG over a limit, -errno of writing. After a
 * failure every further call fails with the same error.
 */
int layer_feed(struct layer *l, const void *data, size_t len, struct err *err);

/*
 * layer_finish() - the blob has ended: complete the image
 * Return: 0 and *ret; as layer_feed(), -EBADMSG also for a stream or archive that ends early.
 */
int layer_finish(struct layer *l, struct layer_result *ret, struct err *err);

/* layer_free() - at any time; NULL is fine. */
void layer_free(struct layer *l);

static inline void cleanup_layer_fn(struct layer **l)
{
	layer_free(*l);
}

#define cleanup_layer __attribute__((cleanup(cleanup_layer_fn)))

#endif
