/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers to one tree: bottom to top, with whiteouts and opaque directories applied.
 *
 * merge_layers() writes metadata only. Its files point into the layers' images, which EROFS calls
 * extra devices; they are needed to mount it, in one of two ways:
 *	one block device   the merged image followed by layer 0, layer 1, ... without gaps: each
 *			   image is a multiple of 4096 bytes and the device table says where each
 *			   begins (mapped_blkaddr). No mount options. Linux 6.3 or later.
 *	many block devices mount -o device=LAYER0,device=LAYER1,...
 * merge_flat() copies the data too, and makes ext4: a root that is written in place.
 */
#ifndef IMAGE_MERGE_H
#define IMAGE_MERGE_H

#include <stdint.h>

#include "lib/err.h"

/* Layers of one image at most. */
#define MERGE_MAX_LAYERS 512

/*
 * struct merge_result - the image made
 * @size:       of the image written, in bytes; a multiple of 4096
 * @total_size: with the layers behind it; merge_flat(): as @size
 * @inodes:     in the tree
 * @file_bytes: sum of the sizes of regular files, each inode counted once
 */
struct merge_result {
	uint64_t size, total_size, inodes, file_bytes;
};

/*
 * merge_layers() - the merged metadata of @n layers
 * @erofs_fd: images made by layer_finish(), bottom to top; borrowed, only read, positions unused.
 *	      They come from a cache on disk and are checked like any foreign input.
 * @n:        1 ... MERGE_MAX_LAYERS
 * @out_fd:   an empty regular file; borrowed
 * Return: 0 and *ret; -EBADMSG a damaged layer or a hard link to nothing, -E2BIG, -errno. Blocks;
 * any thread. The same layers give the same bytes.
 */
int merge_layers(
	const int *erofs_fd, unsigned n, int out_fd, struct merge_result *ret, struct err *err);

/*
 * merge_flat() - as merge_layers(), but self-contained and writable: an ext4 file system in a
 * sparse file, with little more room than it needs; images may then be grown. -E2BIG also for what
 * ext4 cannot say (image/ext4_write.h)
 */
int merge_flat(
	const int *erofs_fd, unsigned n, int out_fd, struct merge_result *ret, struct err *err);

#endif
