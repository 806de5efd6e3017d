/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, section 4) to bytes. */
#ifndef LIB_BASE64_H
#define LIB_BASE64_H

#include <stddef.h>
#include <stdint.h>

/*
 * base64_decode() - blanks and line ends are skipped, padding may be missing
 * @dst: room for 3/4 of @len; may not overlap @text
 * Return: 0 and the bytes in *ret; -EBADMSG
 */
int base64_decode(const char *text, size_t len, uint8_t *dst, size_t *ret);

#endif
