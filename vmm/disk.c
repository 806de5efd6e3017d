/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/disk.h"

#include <stdio.h>

#include "virtio/block.h"

void vm_disk_name(const struct vm_disk *disk, unsigned place, char *dst, size_t max)
{
	if (disk->label)
		(void)snprintf(dst, max, "%s", disk->label);
	else if (disk->id)
		(void)snprintf(dst, max, "disk '%s'", disk->id);
	else
		(void)snprintf(dst, max, "disk %u", place);
}

static int open_image(const struct vm_disk *disk, struct block **ret, struct err *err)
{
	const struct block_config cfg = {
		.format = disk->format,
		.fd = disk->fd,
		.dir_fd = disk->dir_fd,
		.path = disk->path,
		.dir_path = disk->dir_path,
		.backing = disk->backing,
		.read_only = disk->read_only,
	};

	if (disk->n_parts)
		return block_concat_open(disk->parts, disk->n_parts, ret, err);
	return block_open(&cfg, ret, err);
}

int vm_disk_new(const struct vm_disk *disk, struct virtio_dev **ret, struct err *err)
{
	struct virtio_block_config cfg = { .serial = disk->id, .unsafe = disk->unsafe };
	int rc = open_image(disk, &cfg.image, err);

	if (rc < 0)
		return rc;
	cfg.image->label = disk->label;
	if (disk->is_root)
		rc = vm_disk_check_root(cfg.image, disk->fstype, err);
	rc = rc ? rc : virtio_block_new(&cfg, ret, err);
	if (rc < 0)
		block_free(cfg.image);
	return rc;
}
