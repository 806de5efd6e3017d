/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base64.h"

#include <errno.h>
#include <string.h>

static int value_of(char c)
{
	static const char set[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *p = c ? strchr(set, c) : NULL;

	return p ? (int)(p - set) : -1;
}

int base64_decode(const char *text, size_t len, uint8_t *dst, size_t *ret)
{
	unsigned have = 0, padding = 0;
	uint32_t bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int v = value_of(text[i]);

		if (text[i] == '\n' || text[i] == '\r' || text[i] == ' ' || text[i] == '\t')
			continue;
		if (text[i] == '=') {
			padding++;
			continue;
		}
		if (v < 0 || padding)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8) {
			have -= 8;
			dst[n++] = (uint8_t)(bits >> have);
		}
	}
	/* what is left over are the zero bits in front of the padding */
	if (padding > 2 || have >= 6 || (bits & ((1u << have) - 1)))
		return -EBADMSG;
	*ret = n;
	return 0;
}
