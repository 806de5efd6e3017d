/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A root without layers: the image's one ext4 file system, copied for this machine alone. The copy
 * lies beside what it is copied from, where the host's file system may let both share their blocks.
 * It is made longer to the size wanted; filling that is up to the guest's kernel.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "block/upper.h"
#include "cli/run_setup.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/num.h"
#include "store/cache.h"

static int clone_to(int from, int to, enum clone_how how, struct err *err)
{
	int rc;

	if (how != CLONE_COPY && ioctl(to, FICLONE, from) == 0)
		return 0;
	if (how == CLONE_REFLINK)
		return err_msg(err, EOPNOTSUPP,
			"clone=reflink: the file system of the image cache cannot share blocks "
			"between files; leave it away, and they are copied");
	rc = io_copy_sparse(from, to, how != CLONE_COPY);
	return rc < 0 ? err_set(err, rc, "copy the flat image") : 0;
}

static int grow_to(int fd, const struct upper_arg *arg, struct err *err)
{
	uint64_t want = MIB((uint64_t)(arg->size_mib ? arg->size_mib : UPPER_DEFAULT_MIB));
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "look at the copy");
	if (arg->size_mib && want < (uint64_t)st.st_size)
		return err_msg(err, EINVAL,
			"%" PRIu32 " MiB are too few for the image, which needs %" PRIu64 " MiB",
			arg->size_mib, (uint64_t)st.st_size / MIB(1));
	return upper_grow(fd, want, err);
}

int setup_flat(struct run_setup *s, struct cache *cache, int fd, const struct upper_arg *arg,
	struct err *err)
{
	cleanup_fd int copy = -1;
	struct setup_disk *disk;
	int rc = cache_tmp_create(cache, &copy, err);

	rc = rc ? rc : clone_to(fd, copy, arg->clone, err);
	rc = rc ? rc : grow_to(copy, arg, err);
	if (rc < 0)
		return err_wrap(err, "flat root disk");
	disk = setup_add_disk(s, "root", take_fd(&copy), false, err);
	if (!disk)
		return -E2BIG;
	disk->vm.unsafe = true;
	setup_label(disk, "flat root disk");
	return 0;
}
