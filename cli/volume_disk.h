/* SPDX-License-Identifier: Apache-2.0 */
/* The disk of a named volume, for volume_format_fn of store/volume.h. */
#ifndef CLI_VOLUME_DISK_H
#define CLI_VOLUME_DISK_H

#include <stdint.h>

#include "lib/err.h"

/* volume_disk_make() - Return: 0; -ERANGE and what there can be; -errno */
int volume_disk_make(int dirfd, const char *name, uint64_t size, struct err *err);

#endif
