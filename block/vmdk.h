/* SPDX-License-Identifier: Apache-2.0 */
/*
 * VMware disk images, for reading, inside this room (VMware Virtual Disk Format 5.0).
 *
 * An image is a text that lists extents, or one sparse extent which holds that text too. The text
 * is parsed into a struct in which every field is legal (vmdk_desc.c); sparse extents, compressed
 * or not, are images of their own (vmdk_sparse.c); a disk is their concatenation (spans.h).
 */
#ifndef BLOCK_VMDK_H
#define BLOCK_VMDK_H

#include <stddef.h>
#include <stdint.h>

#include "block/block.h"
#include "lib/err.h"

#define VMDK_DESC_MAX	 (UINT32_C(1) << 20) /* bytes of text */
#define VMDK_EXTENTS_MAX 4096
#define VMDK_NAME_MAX	 255

enum vmdk_extent_kind { VMDK_FLAT, VMDK_SPARSE, VMDK_ZERO };

/* struct vmdk_extent - @len, @off: bytes; @name: as it stands there, nothing is known of it */
struct vmdk_extent {
	enum vmdk_extent_kind kind;
	uint64_t len, off;
	char name[VMDK_NAME_MAX + 1];
};

struct vmdk_desc {
	struct vmdk_extent *extent;
	unsigned n;
};

/*
 * vmdk_desc_parse() - @text: not terminated; ends early at a NUL
 * Return: 0 and *ret (vmdk_desc_release()); -EINVAL malformed; -ENOTSUP another type of disk, or
 * one that builds on a parent; -ENOMEM
 */
int vmdk_desc_parse(const char *text, size_t len, struct vmdk_desc *ret, struct err *err);
void vmdk_desc_release(struct vmdk_desc *desc);

/* vmdk_is_sparse() - does the file start as a sparse extent does? */
bool vmdk_is_sparse(int fd, uint64_t size);

/*
 * vmdk_sparse_open() - @fd: duplicated
 * @whole: the extent is the whole disk, and has a text that says so
 */
int vmdk_sparse_open(int fd, bool whole, struct block **ret, struct err *err);

int vmdk_open(const struct block_config *cfg, struct block **ret, struct err *err);

#endif
