/* SPDX-License-Identifier: Apache-2.0 */
/* Folders, single files, disks and volumes of the host, and tmpfs, at their places in the guest. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/upper.h"
#include "cli/run_setup.h"
#include "lib/cleanup.h"
#include "lib/num.h"
#include "store/store.h"

/* ---- folders and files ---- */

static int add_folder(struct run_setup *s, const struct mount_arg *m, int fd, struct err *err)
{
	char tag[SETUP_TAG_MAX];
	struct setup_share *share;

	setup_id_of(m->guest, tag);
	share = setup_add_share(s, tag, fd, m->flags.readonly, err);
	if (!share)
		return -E2BIG;
	share->quota = m->quota;
	s->dirs[s->n_dirs++] = (struct dir_mount){
		.tag = text_of(share->tag),
		.guest_path = text_of(m->guest),
		.flags = m->flags,
	};
	return 0;
}

/* All single files share one device; those that may not be written have another. */
static struct setup_share *file_share(struct run_setup *s, bool read_only, struct err *err)
{
	for (unsigned i = 1; i < s->n_shares; i++) {
		struct setup_share *share = &s->share[i];

		if (share->n_extra > 0 && share->read_only == read_only)
			return share;
	}
	return setup_empty_share(s, read_only ? "files_ro" : "files", read_only, err);
}

static int add_file(struct run_setup *s, const struct mount_arg *m, int fd, struct err *err)
{
	struct setup_share *share = file_share(s, m->flags.readonly, err);
	char *name = s->name[s->n_files];

	if (!share) {
		(void)close(fd);
		return -EIO;
	}
	(void)snprintf(name, SETUP_TAG_MAX, "f%u", s->n_files);
	share->extra[share->n_extra++] = (struct fs_extra){ .name = name, .bound = true, .fd = fd };
	s->files[s->n_files++] = (struct file_mount){
		.tag = text_of(share->tag),
		.filename = text_of(name),
		.guest_path = text_of(m->guest),
		.flags = m->flags,
	};
	return 0;
}

static int add_host(struct run_setup *s, const struct mount_arg *m, struct err *err)
{
	cleanup_fd int fd = open(m->source, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "volume '%s'", m->source);
	if (m->kind == MOUNT_HOST_FILE && S_ISDIR(st.st_mode))
		return err_msg(err, EISDIR, "volume '%s' is a folder", m->source);
	if (S_ISDIR(st.st_mode))
		return add_folder(s, m, take_fd(&fd), err);
	if (m->kind == MOUNT_HOST_DIR)
		return err_msg(err, ENOTDIR, "volume '%s' is not a folder", m->source);
	if (!S_ISREG(st.st_mode))
		return err_msg(
			err, EINVAL, "volume '%s' is neither a folder nor a file", m->source);
	if (m->quota)
		return err_msg(err, EINVAL, "volume '%s' is a file: it has no quota", m->source);
	return add_file(s, m, take_fd(&fd), err);
}

/* ---- disks, volumes, memory ---- */

static int add_disk(
	struct run_setup *s, const struct mount_arg *m, struct setup_disk *disk, const char *fstype)
{
	s->disks[s->n_disk_mounts++] = (struct disk_mount){
		.id = text_of(disk->id),
		.guest_path = text_of(m->guest),
		.fstype = text_of(fstype),
		.flags = m->flags,
	};
	s->disks[s->n_disk_mounts - 1].flags.readonly = disk->vm.read_only;
	return 0;
}

static int add_image(struct run_setup *s, const struct mount_arg *m, struct err *err)
{
	char id[SETUP_TAG_MAX];
	struct setup_disk *disk;

	setup_id_of(m->guest, id);
	disk = setup_open_disk(s, id, m->source, m->format, !m->flags.readonly, err);
	return disk ? add_disk(s, m, disk, m->fstype) : -EIO;
}

static int format_disk(int dirfd, const char *name, uint64_t size, struct err *err)
{
	const struct upper_config cfg = { .size = size, .durable = true };

	return upper_create(dirfd, name, &cfg, err);
}

static int use_folder(
	struct run_setup *s, const struct mount_arg *m, struct volume_use *use, struct err *err)
{
	int rc = add_folder(s, m, take_fd(&use->fd), err);

	if (rc == 0)
		s->share[s->n_shares - 1].quota = use->quota;
	return rc;
}

static int use_disk(
	struct run_setup *s, const struct mount_arg *m, struct volume_use *use, struct err *err)
{
	char id[SETUP_TAG_MAX];
	struct setup_disk *disk;

	setup_id_of(m->guest, id);
	disk = setup_add_disk(s, id, take_fd(&use->fd), m->flags.readonly, err);
	if (!disk)
		return -E2BIG;
	s->lasting |= !m->flags.readonly;
	return add_disk(s, m, disk, VOLUME_DISK_FSTYPE);
}

/* @ret_created: to be removed again if a later step fails */
static int add_volume(struct run_setup *s, const struct mount_arg *m, struct store *store,
	bool *ret_created, struct err *err)
{
	const struct volume_spec spec = {
		.name = m->source,
		.kind = m->disk ? VOLUME_DISK : VOLUME_DIR,
		.quota_mib = m->quota / MIB(1),
		.capacity = m->disk ? MIB(m->size_mib) : 0,
		.format = format_disk,
	};
	cleanup_volume_use struct volume_use use = VOLUME_USE_INIT;
	struct volume_info *known = NULL;
	int rc = 0;

	/* -v NAME:GUEST takes a volume of either kind. */
	if (!m->kind_given && catalogue_volume_get(store->catalogue, m->source, &known, NULL) == 0)
		volume_info_free(known);
	else
		rc = volume_ensure(store, &spec, ret_created, err);
	if (rc == 0)
		rc = volume_use(store, m->source, m->flags.readonly, &use, err);
	if (rc < 0)
		return rc;
	return use.kind == VOLUME_DISK ? use_disk(s, m, &use, err) : use_folder(s, m, &use, err);
}

static int add_tmpfs(struct run_setup *s, const struct mount_arg *m)
{
	s->tmpfs[s->n_tmpfs++] = (struct tmpfs_mount){
		.path = text_of(m->guest),
		.size_mib = m->size_mib,
		.flags = m->flags,
	};
	return 0;
}

static int add_mount(struct run_setup *s, const struct mount_arg *m, struct err *err)
{
	switch (m->kind) {
	case MOUNT_HOST:
	case MOUNT_HOST_DIR:
	case MOUNT_HOST_FILE:
		return add_host(s, m, err);
	case MOUNT_IMAGE:
		return add_image(s, m, err);
	case MOUNT_VOLUME: /* add_volumes() */
		return 0;
	case MOUNT_TMPFS:
		return add_tmpfs(s, m);
	}
	return -EINVAL;
}

/* images.md 4.6: images get a /tmp in memory, unless something else is mounted there. */
static void add_default_tmp(struct run_setup *s, const struct run_args *args)
{
	uint64_t mib = args->ram_mib / 4;

	if (!s->image || mount_args_has(&args->mounts, "/tmp"))
		return;
	mib = MIN_OF(MAX_OF(mib, 1), 512);
	s->tmpfs[s->n_tmpfs++] =
		(struct tmpfs_mount){ .path = text_of("/tmp"), .size_mib = (uint32_t)mib };
}

static void remove_created(
	struct store *store, const struct mount_args *mounts, const bool *created)
{
	for (unsigned i = 0; i < mounts->n; i++) {
		if (created[i])
			(void)volume_remove(store, mounts->v[i].source, NULL);
	}
}

/* The catalogue is closed again before anything is forked. */
static int add_volumes(struct run_setup *s, const struct mount_args *mounts, struct err *err)
{
	cleanup_store struct store store = { 0 };
	bool created[MOUNT_ARGS_MAX] = { false };
	int rc;

	rc = store_open(CATALOGUE_WRITE, &store, err);
	for (unsigned i = 0; i < mounts->n && rc == 0; i++) {
		if (mounts->v[i].kind == MOUNT_VOLUME)
			rc = add_volume(s, &mounts->v[i], &store, &created[i], err);
	}
	if (rc < 0) {
		setup_close_worker_ends(s); /* or they would be in use */
		remove_created(&store, mounts, created);
	}
	return rc;
}

static bool has_volumes(const struct mount_args *mounts)
{
	for (unsigned i = 0; i < mounts->n; i++) {
		if (mounts->v[i].kind == MOUNT_VOLUME)
			return true;
	}
	return false;
}

int setup_mounts(struct run_setup *s, const struct run_args *args, struct err *err)
{
	int rc = 0;

	add_default_tmp(s, args);
	for (unsigned i = 0; i < args->mounts.n && rc == 0; i++)
		rc = add_mount(s, &args->mounts.v[i], err);
	/* Last, so that no other mount fails once a volume has been created. */
	if (rc == 0 && has_volumes(&args->mounts))
		rc = add_volumes(s, &args->mounts, err);
	return rc;
}
