/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/volume_disk.h"

#include <errno.h>

#include "block/upper.h"
#include "lib/num.h"

int volume_disk_make(int dirfd, const char *name, uint64_t size, struct err *err)
{
	struct upper_config cfg = { .size = ALIGN_UP(size, 4096), .durable = true };

	if (size < UPPER_MIN || size > UPPER_MAX)
		return err_msg(err, ERANGE, "the size of a disk is 16M to 16T");
	return upper_create(dirfd, name, &cfg, err);
}
