/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata of an EROFS image, written behind whatever data the file holds already. */
#ifndef IMAGE_EROFS_WRITE_H
#define IMAGE_EROFS_WRITE_H

#include "image/erofs_uuid.h"
#include "image/out.h"
#include "image/tree.h"

/* File data begins behind the block with the superblock. */
#define EROFS_DATA_POS 4096

/* struct erofs_extra - a device: its size in blocks, and the tag of its slot in the table */
struct erofs_extra {
	uint32_t blocks;
	uint8_t tag[64];
};

/*
 * struct erofs_params - beside the tree
 * @seed:    digest of what the image is made of; its UUID comes from that and the metadata written
 * @compact: inodes of 32 bytes where they suffice: not in layers, of which upstream's reader wants
 *	     inodes of 64 bytes throughout
 * @devices: extra devices, @n_devices of them
 */
struct erofs_params {
	uint8_t seed[EROFS_SEED_LEN];
	bool compact;
	const struct erofs_extra *devices;
	unsigned n_devices;
};

/* struct erofs_written - @size of the file */
struct erofs_written {
	uint64_t size, inodes, file_bytes;
};

/*
 * erofs_write() - complete the image in @o: metadata from the next block on, superblock last
 * The flags of tree_inode for opaque and implied directories and for links are not looked at: a
 * layer has xattrs for them, a merged tree has none. Sets nid, addr, nlink, and the size of
 * directories. The same tree gives the same bytes. Return: 0 and *ret; -E2BIG more than 32-bit
 * block addresses can say; -ENOMEM; -errno
 */
int erofs_write(struct tree *t, struct out *o, const struct erofs_params *p,
	struct erofs_written *ret, struct err *err);

#endif
