/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is being done to a volume stands in its lock file, one letter, while folder and catalogue do
 * not agree. Whoever finds it there under the lock knows that the one who wrote it has been killed,
 * and what is to be finished: without it a folder that no volume has could be anybody's data.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/internal.h"
#include "store/store.h"

int volume_mark(const struct lock *lock, enum volume_step step, struct err *err)
{
	char letter = (char)step;

	if (ftruncate(lock->fd, 0) < 0)
		return err_set(err, errno, "write the lock file of a volume");
	if (step == VOLUME_SETTLED)
		return 0;
	/* On the disk before what it announces: a crash of the host is no other case. */
	if (pwrite(lock->fd, &letter, 1, 0) != 1 || fdatasync(lock->fd) < 0)
		return err_set(err, errno, "write the lock file of a volume");
	return 0;
}

static bool is_there(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The folder got its name, and the volume never was: nobody has used it. */
static int undo_creation(int dirfd, const char *name, bool in_catalogue, struct err *err)
{
	return in_catalogue ? 0 : tree_remove(dirfd, name, err);
}

/* The folder has lost its name, and the volume is to follow. */
static int finish_removal(
	struct store *store, int dirfd, const char *name, bool in_catalogue, struct err *err)
{
	if (!in_catalogue || is_there(dirfd, name))
		return 0;
	return catalogue_volume_delete(store->catalogue, name, err);
}

int volume_recover(
	struct store *store, int dirfd, const char *name, const struct lock *lock, struct err *err)
{
	cleanup_volume_info struct volume_info *v = NULL;
	char letter;
	int rc;

	if (pread(lock->fd, &letter, 1, 0) != 1)
		return 0;
	rc = catalogue_volume_get(store->catalogue, name, &v, NULL);
	if (rc < 0 && rc != -ENOENT)
		return err_msg(err, -rc, "repair volume '%s': read the catalogue", name);
	rc = 0;
	if (letter == VOLUME_BEING_MADE)
		rc = undo_creation(dirfd, name, v != NULL, err);
	else if (letter == VOLUME_BEING_REMOVED)
		rc = finish_removal(store, dirfd, name, v != NULL, err);
	return rc < 0 ? err_wrap(err, "repair volume '%s'", name)
		      : volume_mark(lock, VOLUME_SETTLED, err);
}
