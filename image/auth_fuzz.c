/* SPDX-License-Identifier: Apache-2.0 */
/* Credentials and challenges; the first byte chooses the parser, the rest is the text. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "image/auth.h"
#include "image/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void challenge(const uint8_t *data, size_t len)
{
	char *text = strndup((const char *)data, len);
	struct challenge c;

	if (!text)
		return;
	challenge_parse(text, &c);
	assert(c.kind != CHALLENGE_BEARER || c.realm[0]);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const domains[] = { "docker.io", "localhost:5000", "ghcr.io" };
	struct credentials c = { .username = NULL };
	struct image_settings *s = NULL;
	char helper[DOCKER_HELPER_MAX];
	struct err err = ERR_INIT;

	if (len == 0)
		return 0;
	switch (data[0] & 3) {
	case 0:
		(void)docker_auth_parse((const char *)data + 1, len - 1, domains[data[0] / 4 % 3],
			helper, &c, &err);
		assert(!strchr(helper, '/'));
		break;
	case 1:
		(void)docker_helper_parse((const char *)data + 1, len - 1, &c, &err);
		break;
	case 2:
		challenge(data + 1, len - 1);
		break;
	default:
		if (image_settings_parse((const char *)data + 1, len - 1, "/h", &s, &err) == 0)
			image_settings_free(s);
	}
	credentials_release(&c);
	return 0;
}
