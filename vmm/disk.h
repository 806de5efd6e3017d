/* SPDX-License-Identifier: Apache-2.0 */
/* Inside vmm/: the block device of a struct vm_disk, the same for both engines. */
#ifndef VMM_DISK_H
#define VMM_DISK_H

#include <stddef.h>

#include "virtio/device.h"
#include "vmm/vmm.h"

/* vm_disk_name() - what messages call the disk with this place in the configuration, cut to fit */
void vm_disk_name(const struct vm_disk *disk, unsigned place, char *dst, size_t max);

/*
 * vm_disk_check_root() - can a root be on @b, as far as its first sectors tell?
 * @fstype: as in struct vm_disk
 * Return: 0; -EINVAL no; -errno it cannot be read
 */
int vm_disk_check_root(struct block *b, const char *fstype, struct err *err);

/* vm_disk_new() - open the image and make its device; messages about it while the guest runs have
 * disk->label, which must last as long. Return: 0 and *ret (virtio_dev_free());
 * -EINVAL what the format does not allow, or no root where one must be; -errno. */
int vm_disk_new(const struct vm_disk *disk, struct virtio_dev **ret, struct err *err);

#endif
