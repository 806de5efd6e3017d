/* SPDX-License-Identifier: Apache-2.0 */
/* A blob through the whole chain: what comes out must be an image that our own reader accepts. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "image/layer.h"
#include "image/merge.h"
#include "lib/cleanup.h"
#include "lib/num.h"

static int unpack(const uint8_t *data, size_t size, int fd)
{
	static const struct layer_options options = { .limits = { .max_tar_bytes = 1U << 20,
							      .max_total_bytes = 1U << 22,
							      .max_file_bytes = 1U << 22,
							      .max_meta_bytes = 1U << 22,
							      .max_entries = 1000 } };
	cleanup_layer struct layer *l = NULL;
	struct layer_result res;
	int r = layer_new(fd, &options, &l, NULL);

	for (size_t at = 0; r == 0 && at < size; at += 777)
		r = layer_feed(l, data + at, MIN_OF((size_t)777, size - at), NULL);
	return r < 0 ? r : layer_finish(l, &res, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int fd = memfd_create("layer", MFD_CLOEXEC);
	cleanup_fd int out = memfd_create("merged", MFD_CLOEXEC);
	struct merge_result res;
	struct err err = ERR_INIT;

	if (unpack(data, size, fd) < 0 || merge_layers(&fd, 1, out, &res, &err) == 0)
		return 0;
	/* All that may be wrong now is a hard link to nothing, which layers may have. */
	if (!strstr(err.msg, "hard link"))
		abort();
	return 0;
}
