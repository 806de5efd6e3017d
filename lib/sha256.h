/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 of a few bytes: names of files that are made from names. FIPS 180-4. Content that is
 * checked by its digest goes through libcrypto, which is many times as fast and takes 3 ms to load.
 */
#ifndef LIB_SHA256_H
#define LIB_SHA256_H

#include <stddef.h>

/* Of the hexadecimal text, with its NUL. */
#define SHA256_TEXT_MAX 65

/* sha256_text() - the digest of @len bytes in lower-case hexadecimal */
void sha256_text(const void *data, size_t len, char ret[static SHA256_TEXT_MAX]);

#endif
