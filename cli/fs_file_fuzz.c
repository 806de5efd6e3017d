/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as --fs-conf; what is accepted is what options could have said, and yields frames. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/fs_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_mounts(const struct mount_args *mounts)
{
	for (unsigned i = 0; i < mounts->n; i++) {
		const struct mount_arg *m = &mounts->v[i];

		if (m->guest[0] != '/' || strstr(m->guest, "/../") || strpbrk(m->guest, ":;,"))
			abort();
		if ((m->kind == MOUNT_TMPFS) != !m->source)
			abort();
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(m->guest, mounts->v[j].guest) == 0)
				abort();
		}
	}
}

/* Copies are not followed: they would read from the host whatever the fuzzer names. */
static void check_patches(struct patch_args *patches)
{
	struct patch_source *src = calloc(1, sizeof(*src));
	struct patch frame;

	if (!src)
		return;
	for (size_t i = 0; i < patches->n; i++) {
		struct patch_args one = { &patches->v[i], 1 };

		if (patches->v[i].kind <= PATCH_COPY_DIR)
			continue;
		src->args = &one;
		src->at = 0;
		while (patch_source_next(src, &frame, NULL) == 1) {
			if (frame.path.s && frame.path.s[0] != '/')
				abort();
		}
	}
	free(src);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct mount_args mounts = { 0 };
	struct patch_args patches = { 0 };
	struct fs_file f = { 0 };
	struct err err = ERR_INIT;

	if (fs_file_parse(&f, "fuzz", (const char *)data, len, false, &err) == 0) {
		if (fs_file_finish(&f, &mounts, &patches, &err) < 0)
			abort();
		check_mounts(&mounts);
		check_patches(&patches);
	} else if (!err.msg[0]) {
		abort();
	}
	mount_args_release(&mounts);
	patch_args_release(&patches);
	fs_file_release(&f);
	return 0;
}
