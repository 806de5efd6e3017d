/* SPDX-License-Identifier: Apache-2.0 */
#include "image/digest.h"

#include <stdio.h>
#include <string.h>

#include "lib/num.h"

struct algorithm {
	const char *prefix; /* with the colon */
	size_t hex_len;
};

static const struct algorithm algorithms[] = {
	{ "sha256:", 64 },
	{ "sha384:", 96 },
	{ "sha512:", 128 },
};

static const struct algorithm *find(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(algorithms); i++) {
		if (!strncmp(text, algorithms[i].prefix, strlen(algorithms[i].prefix)))
			return &algorithms[i];
	}
	return NULL;
}

bool digest_valid(const char *text)
{
	const struct algorithm *a = find(text);

	if (!a)
		return false;
	text += strlen(a->prefix);
	return strspn(text, "0123456789abcdef") == a->hex_len && text[a->hex_len] == '\0';
}

void digest_path_safe(const char *text, char ret[static DIGEST_TEXT_MAX])
{
	(void)snprintf(ret, DIGEST_TEXT_MAX, "%s", text);
	ret[strcspn(ret, ":")] = '_';
}
