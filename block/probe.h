/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies on a disk image, by the marks that file systems and partition tables have at fixed
 * places. A mark says nothing about what lies behind it: mounting is up to the guest's kernel, and
 * so is every doubt. This is for saying early what cannot work.
 */
#ifndef BLOCK_PROBE_H
#define BLOCK_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"

/*
 * struct block_content - marks that were found; there may be several, old ones among them
 * @types:      a bit for each type of file system; for the functions below
 * @partitions: "GPT", "MBR"; NULL: none
 * @blank:      nothing but zeroes where marks are looked for
 */
struct block_content {
	uint32_t types;
	const char *partitions;
	bool blank;
};

/* block_probe() - read the first 68 KiB. Return: 0; -ENOMEM; what reading gave */
int block_probe(struct block *b, struct block_content *ret, struct err *err);

/* block_content_type() - one type of file system that was found, as mount(8) says; NULL: none */
const char *block_content_type(const struct block_content *content);

/* block_content_has() - was the mark of @type found? Those of ext2, ext3 and ext4 are one */
bool block_content_has(const struct block_content *content, const char *type);

/* block_probe_knows() - is the mark of @type looked for? */
bool block_probe_knows(const char *type);

#endif
