/* SPDX-License-Identifier: Apache-2.0 */
/* Names of backing files: whatever stands in an image, the path stays below the folder. */
#include <stdlib.h>
#include <string.h>

#include "block/backing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && memcmp(p, "..", 2) == 0))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const folders[] = { "", "a/", "a/b/", "..a/.b/" };
	struct block_config cfg = { .dir_path = len & 1 ? "/top" : NULL };
	char *name, path[BACKING_PATH_MAX];

	if (len == 0)
		return 0;
	name = strndup((const char *)data + 1, len - 1);
	if (name && backing_resolve(&cfg, folders[data[0] % 4], name, path, NULL) == 0)
		check(path);
	free(name);
	return 0;
}
