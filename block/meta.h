/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache of bounded size over the tables of a qcow2 file, written back in an order that keeps
 * the file consistent: what refers to something is written after that something. Every change
 * names its level; a level is written as a whole, and the caller syncs between levels.
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

/* In the order of writing back. */
enum meta_level { META_REFBLOCK, META_REFTABLE, META_L2, META_L1, META_LEVELS };

struct meta;

/* meta_new() - @fd: borrowed; @page_len: a power of two, up to 4096, that divides a cluster */
int meta_new(int fd, uint32_t page_len, struct meta **ret, struct err *err);

/* meta_free() - what is not written back is lost; NULL is fine. */
void meta_free(struct meta *m);

/* meta_load() - bytes of the file, as last stored. Return: 0; -EIO beyond the end; -errno */
int meta_load(struct meta *m, uint64_t off, void *dst, size_t len);

/* meta_store() - change them. Return: 0; -errno, with some bytes maybe changed */
int meta_store(struct meta *m, uint64_t off, const void *src, size_t len, enum meta_level level);

/* meta_dirty() - pages that wait; level META_LEVELS: of all levels */
unsigned meta_dirty(const struct meta *m, enum meta_level level);

/* meta_crowded() - it is time to write back: less than half of the cache is left to loads */
bool meta_crowded(const struct meta *m);

/* meta_write_back() - pages of one level; those that failed stay. Return: 0; -errno */
int meta_write_back(struct meta *m, enum meta_level level);

/* meta_forget() - drop what is cached of a range that has become something else. */
void meta_forget(struct meta *m, uint64_t off, uint64_t len);

/* Big-endian integers through the cache. */
int meta_load_be64(struct meta *m, uint64_t off, uint64_t *ret);
int meta_store_be64(struct meta *m, uint64_t off, uint64_t v, enum meta_level level);

#endif
