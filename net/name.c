/* SPDX-License-Identifier: Apache-2.0 */
#include "net/name.h"

#include <errno.h>
#include <string.h>

#define LABEL_MAX 63

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static bool label_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

int name_canon(const char *s, size_t len, char ret[NAME_BUF])
{
	char tmp[NAME_BUF];
	size_t label = 0;

	while (len && *s == '.') {
		s++;
		len--;
	}
	while (len && s[len - 1] == '.')
		len--;
	if (!len || len > NAME_MAX_LEN)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = lower(s[i]);

		if (c == '.' ? !label : !label_char(c) || label == LABEL_MAX)
			return -EINVAL;
		label = c == '.' ? 0 : label + 1;
		tmp[i] = c;
	}
	memcpy(ret, tmp, len);
	ret[len] = 0;
	return 0;
}

unsigned name_labels(const char *name)
{
	unsigned n = 1;

	for (; *name; name++)
		n += *name == '.';
	return n;
}

bool name_under(const char *name, const char *suffix)
{
	size_t nl = strlen(name), sl = strlen(suffix);

	if (nl < sl || strcmp(name + nl - sl, suffix) != 0)
		return false;
	return nl == sl || name[nl - sl - 1] == '.';
}
