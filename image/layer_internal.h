/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the halves of a layer: layer.c (bytes) and layer_entry.c (members). */
#ifndef IMAGE_LAYER_INTERNAL_H
#define IMAGE_LAYER_INTERNAL_H

#include "image/layer.h"
#include "image/out.h"
#include "image/tar.h"
#include "image/tree.h"

/*
 * struct layer_tree - members becoming a tree, and data in the image file
 * @path:   the member's path without "." components and slashes too many, @path_len bytes; so is
 *	    @target, of a hard link
 * @parent: the directory of @parent_path, if that is known, and if no name was replaced since
 *	    @parent_as_of (tree.replaced); most members share it with the one before
 * @file:   the file whose data comes now, NULL: data is ignored; borrowed from the tree, where
 *	    nothing can happen to it before its end
 * @map, @n_map: of a sparse @file: pieces that still have to come; @map_done bytes of the first did
 * @extent: that holds where the next byte goes
 */
struct layer_tree {
	struct layer_limits limits;
	struct tree tree;
	struct out out;
	char *path, *target, *parent_path;
	size_t path_len;
	struct tree_inode *parent;
	struct tree_inode *file;
	const struct tar_extent *map;
	size_t n_map;
	uint64_t map_done, total_bytes, dropped, parent_as_of;
	uint32_t extent;
};

/* layer_tree_init() - @limits has no zeros. Return: 0; -ENOMEM, -EINVAL */
int layer_tree_init(
	struct layer_tree *lt, int out_fd, const struct layer_limits *limits, struct err *err);
void layer_tree_release(struct layer_tree *lt);

/* layer_tree_mark() - no more members: write flags as the xattrs of layer.h */
int layer_tree_mark(struct layer_tree *lt, struct err *err);

/* What the tar reader calls; the context is a struct layer_tree. */
extern const struct tar_ops layer_tree_ops;

#endif
