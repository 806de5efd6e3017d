/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is there something on a disk image that can be a root? Said before a machine boots for nothing.
 * What is not known here is the guest's kernel to decide on: --fstype then says what it is.
 */
#include <errno.h>

#include "block/probe.h"
#include "cli/run_setup.h"

static int read_content(const struct setup_disk *disk, struct block_content *ret, struct err *err)
{
	struct vm_disk look = disk->vm;
	struct block *b = NULL;
	int rc;

	look.read_only = true;
	rc = vm_disk_open(&look, &b, err);
	rc = rc ? rc : block_probe(b, ret, err);
	block_free(b);
	return rc;
}

static int judge(const struct block_content *c, const char *fstype, struct err *err)
{
	const char *found = block_content_type(c);

	if (fstype ? !block_probe_knows(fstype) || block_content_has(c, fstype) : found != NULL)
		return 0;
	if (found)
		return err_msg(err, EINVAL, "holds no %s file system, but %s", fstype, found);
	if (c->partitions)
		return err_msg(err, EINVAL,
			"has a partition table (%s), but a root is one file system on the whole "
			"disk: copy the partition into an image of its own",
			c->partitions);
	if (c->blank)
		return err_msg(err, EINVAL, "is empty: make a file system with a root in it");
	if (fstype)
		return err_msg(err, EINVAL, "holds no %s file system", fstype);
	return err_msg(err, EINVAL,
		"holds no file system that is known here; say --fstype TYPE if the guest's kernel "
		"knows it");
}

int setup_check_content(const struct setup_disk *disk, const char *fstype, struct err *err)
{
	struct block_content content;
	struct err why = ERR_INIT;
	int rc = read_content(disk, &content, &why);

	if (rc < 0)
		return err_msg(err, -rc, "disk image '%s': %s", disk->path, why.msg);
	rc = judge(&content, fstype, &why);
	return rc < 0 ? err_msg(err, -rc, "disk image '%s' %s", disk->path, why.msg) : 0;
}
