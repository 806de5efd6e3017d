/* SPDX-License-Identifier: Apache-2.0 */
/* The blocks of an ext4 directory that is complete from the start: hashed if it has more than one,
 * as the kernel keeps those that it fills itself. */
#ifndef IMAGE_EXT4_DIR_H
#define IMAGE_EXT4_DIR_H

#include <stdbool.h>

#include "block/ext4.h"
#include "image/tree.h"
#include "lib/buf.h"

/*
 * struct ext4_dir - @blocks: whole ones, without their checksums, which ext2fs_write_dir_block4()
 * adds; @indexed: the inode needs EXT2_INDEX_FL
 */
struct ext4_dir {
	struct buf blocks;
	bool indexed;
};

/*
 * ext4_dir_make() - @dir with its names, whose inodes have their numbers in nid
 * @ret: zeroed; buf_release(&ret->blocks) in any case
 * Return: 0; -ENOMEM; -E2BIG some 10 million names
 */
int ext4_dir_make(
	ext2_filsys fs, const struct tree_inode *dir, struct ext4_dir *ret, struct err *err);

/* ext4_dir_blocks() - no fewer than it will have */
uint64_t ext4_dir_blocks(const struct tree_inode *dir);

#endif
