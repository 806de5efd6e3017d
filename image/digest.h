/* SPDX-License-Identifier: Apache-2.0 */
/* Content digests, "sha256:<hex>": checking their text, and computing them. */
#ifndef IMAGE_DIGEST_H
#define IMAGE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* Longest digest text with its NUL: "sha512:" and 128 digits. */
#define DIGEST_TEXT_MAX 136

/* digest_valid() - is @text a known algorithm, a colon, and as many lower-case digits as it has? */
bool digest_valid(const char *text);

/*
 * digest_path_safe() - as part of a file name: "sha256_<hex>"
 * @text: a valid digest
 */
void digest_path_safe(const char *text, char ret[static DIGEST_TEXT_MAX]);

/* struct hasher - a digest being computed (hasher.c, image_dep); for one thread at a time */
struct hasher;

/*
 * hasher_new() - with the algorithm that the digest text @like names
 * Return: NULL if it names none, or out of memory; free with hasher_free()
 */
struct hasher *hasher_new(const char *like);
void hasher_free(struct hasher *h);
void hasher_update(struct hasher *h, const void *data, size_t len);

/* hasher_finish() - the text of the digest; @h can then only be freed. */
void hasher_finish(struct hasher *h, char ret[static DIGEST_TEXT_MAX]);

/* digest_bytes() - digest of @len bytes, with the algorithm of @like; "" if that is not known. */
void digest_bytes(const char *like, const void *data, size_t len, char ret[static DIGEST_TEXT_MAX]);

static inline void hasher_cleanup(struct hasher **h)
{
	hasher_free(*h);
}

#define cleanup_hasher __attribute__((cleanup(hasher_cleanup)))

#endif
