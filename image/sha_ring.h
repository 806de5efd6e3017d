/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 of a stream, beside whatever else is done with its bytes: on processors without SHA
 * instructions hashing takes as long as all the rest of unpacking a layer. A long stream gets a
 * thread; a short one, or one on a system that gives no threads, is hashed where it comes.
 */
#ifndef IMAGE_SHA_RING_H
#define IMAGE_SHA_RING_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

#define SHA_RING_PIECE (256U << 10)
#define SHA_RING_BYTES 32

struct sha_ring;

/* sha_ring_new() - Return: 0 and *ret; -ENOMEM */
int sha_ring_new(struct sha_ring **ret, struct err *err);
void sha_ring_free(struct sha_ring *d);

/* sha_ring_room() - SHA_RING_PIECE bytes for the next piece; the same until sha_ring_put(). May
 * wait for an earlier piece to be hashed. */
uint8_t *sha_ring_room(struct sha_ring *d);

/* sha_ring_put() - the piece is complete: @len (<= SHA_RING_PIECE) bytes; they must not change, but
 * stay readable until the next sha_ring_room() */
void sha_ring_put(struct sha_ring *d, size_t len);

/* sha_ring_finish() - Return: 0 and 32 bytes in @ret; -EIO */
int sha_ring_finish(struct sha_ring *d, uint8_t *ret, struct err *err);

/* sha_ring_text() - "sha256:" and 64 hex digits, NUL-terminated, into 72 bytes at @ret */
void sha_ring_text(const uint8_t *sha256, char *ret);

#endif
