/* SPDX-License-Identifier: Apache-2.0 */
/* The first byte chooses the parser, the rest is the document. */
#include <stdint.h>

#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_manifest struct manifest m = { .is_index = false };
	cleanup_config struct image_config c = { .env = NULL };
	struct err err = ERR_INIT;
	const char *doc;
	char text[100];

	if (len == 0)
		return 0;
	doc = (const char *)data + 1;
	if (data[0] & 1) {
		(void)config_parse(doc, len - 1, &c, &err);
		return 0;
	}
	if (manifest_parse(doc, len - 1, data[0] & 2 ? MEDIA_OCI_INDEX : NULL, &m, &err) == 0) {
		(void)manifest_choose(&m, "amd64", data[0] & 4 ? "v2" : NULL);
		manifest_platforms(&m, text, sizeof(text));
	}
	return 0;
}
