/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache of bounded size over the tables of an image. Changes wait in it until they are written
 * back, all at once and in no order that anything depends on.
 *
 * Any thread may load. Changes and writing back are for one thread at a time while nobody loads
 * (the image's lock sees to that), except that loading may drop pages that are clean.
 */
#ifndef BLOCK_META_H
#define BLOCK_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct meta;

/* meta_new() - @fd: borrowed; @page_len: a power of two, up to 4096, that divides a cluster */
int meta_new(int fd, uint32_t page_len, struct meta **ret, struct err *err);

/* meta_free() - what is not written back is lost; NULL is fine. */
void meta_free(struct meta *m);

/* meta_load() - bytes of the file, as last stored. Return: 0; -EIO beyond the end; -errno */
int meta_load(struct meta *m, uint64_t off, void *dst, size_t len);

/* meta_store() - change them. Return: 0; -errno, with some bytes maybe changed */
int meta_store(struct meta *m, uint64_t off, const void *src, size_t len);

/* meta_dirty() - pages that wait to be written back */
unsigned meta_dirty(const struct meta *m);

/* meta_crowded() - it is time to write back: less than half of the cache is left to loads */
bool meta_crowded(const struct meta *m);

/* meta_write_back() - all that wait; those that failed stay. Return: 0; -errno */
int meta_write_back(struct meta *m);

/* meta_forget() - drop what is cached of a range that has become something else. */
void meta_forget(struct meta *m, uint64_t off, uint64_t len);

/* meta_load_be64() - a big-endian integer through the cache */
int meta_load_be64(struct meta *m, uint64_t off, uint64_t *ret);

#endif
