/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An ext4 file system made from nothing in a file that is one hole: what fresh writable layers and
 * images with a whole tree in them have in common. Features, tables, journal and room to grow are
 * decided here; who calls decides what is in it. Needs libext2fs.
 */
#ifndef BLOCK_EXT4_H
#define BLOCK_EXT4_H

#include <ext2fs/ext2fs.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

#define EXT4_BLOCK	      4096
#define EXT4_GROUP_BLOCKS     32768
#define EXT4_INODES_PER_GROUP 8192 /* at the usual 16 KiB for each */
#define EXT4_INODE_LEN	      256
#define EXT4_INODE_EXTRA      32

/*
 * ext4_fill_fn - put what belongs into the file system, the root directory (inode 2) at least
 * @fs: inodes 1 and 3 to 10 are taken; the tables are in memory until the end
 */
typedef int ext4_fill_fn(void *ctx, ext2_filsys fs, struct err *err);

/*
 * struct ext4_config
 * @size:    bytes, a multiple of EXT4_BLOCK; what is beyond can be grown into (EXT4_IOC_RESIZE_FS)
 * @journal: blocks of it, at least 1024
 * @uuid:    16 bytes, and with them the same bytes come out each time; NULL: random
 * @large_xattrs: more of them for a file than fit into a block, each up to 64 KiB in an inode of
 * its own (feature ea_inode: kernels from 4.13 on)
 * @sync:    on stable storage when the call returns
 */
struct ext4_config {
	uint64_t size;
	unsigned journal;
	const uint8_t *uuid;
	bool large_xattrs, sync;
	ext4_fill_fn *fill;
	void *ctx;
};

/* ext4_format() - @fd: open for writing, @cfg->size bytes long, all hole. Return: 0; -errno */
int ext4_format(int fd, const struct ext4_config *cfg, struct err *err);

/* ext4_error() - what the library says, as -errno and a message. */
int ext4_error(struct err *err, errcode_t code, const char *what);

#endif
