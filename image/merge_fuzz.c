/* SPDX-License-Identifier: Apache-2.0 */
/* Two images, one over the other; whole blocks, cut in the middle. The merge must be readable. */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/erofs.h"
#include "image/merge.h"
#include "image/tie.h"
#include "lib/cleanup.h"

static int image_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("layer", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t half = size / 2 & ~(size_t)(EROFS_BLOCK - 1);
	cleanup_fd int one = image_of(data, half), two = image_of(data + half, size - half);
	cleanup_fd int merged = memfd_create("merged", MFD_CLOEXEC);
	cleanup_fd int flat = memfd_create("flat", MFD_CLOEXEC);
	cleanup_erofs struct erofs *e = NULL;
	int fds[2] = { one, two };
	struct merge_result res;

	if (merge_layers(fds, 2, merged, &res, NULL) < 0)
		return 0;
	if (erofs_open(merged, fds, 2, &e, NULL) < 0 || tie_check(merged, fds, 2, NULL) < 0)
		abort();
	/* Many pointers to few blocks can make much of little. */
	if (res.file_bytes < 1U << 22)
		(void)merge_flat(fds, 2, flat, &res, NULL);
	return 0;
}
