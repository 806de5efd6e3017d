/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there something on a disk image that can be a root? Said before a machine boots for nothing.
 * What is not known here is the guest's kernel to decide on: --fstype then says what it is.
 */
#include <errno.h>

#include "block/probe.h"
#include "vmm/disk.h"

static int judge(const struct block_content *c, const char *fstype, struct err *err)
{
	const char *found = block_content_type(c);

	if (fstype ? !block_probe_knows(fstype) || block_content_has(c, fstype) : found != NULL)
		return 0;
	if (found)
		return err_msg(err, EINVAL, "it holds no %s file system, but %s", fstype, found);
	if (c->partitions)
		return err_msg(err, EINVAL,
			"it has a partition table (%s), but a root is one file system on the whole "
			"disk: copy the partition into an image of its own",
			c->partitions);
	if (c->blank)
		return err_msg(err, EINVAL, "it is empty: make a file system with a root in it");
	if (fstype)
		return err_msg(err, EINVAL, "it holds no %s file system", fstype);
	return err_msg(err, EINVAL,
		"it holds no file system that is known here; say --fstype TYPE if the guest's "
		"kernel knows it");
}

int vm_disk_check_root(struct block *b, const char *fstype, struct err *err)
{
	struct block_content content;
	int rc = block_probe(b, &content, err);

	return rc < 0 ? rc : judge(&content, fstype, err);
}
