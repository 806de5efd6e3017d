/* SPDX-License-Identifier: Apache-2.0 */
/* Folders, single files, disks and volumes of the host, and tmpfs, at their places in the guest. */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cli/run_setup.h"
#include "cli/volume_disk.h"
#include "lib/cleanup.h"
#include "lib/num.h"
#include "store/store.h"

/* ---- owners and modes ---- */

/*
 * How owners and modes are kept where an option says something of it (images.md 5.2); records are
 * what the other options change the making of.
 */
static void set_policy(struct setup_share *share, const struct mount_arg *m)
{
	static const enum fs_perms perms[] = {
		[MOUNT_PERMS_DEFAULT] = FS_PERMS_PRIVATE,
		[MOUNT_PERMS_PRIVATE] = FS_PERMS_PRIVATE,
		[MOUNT_PERMS_MIRROR] = FS_PERMS_MIRROR,
	};

	if (m->stat == MOUNT_STAT_OFF)
		share->owner = FS_OWNER_HOST;
	if (m->stat == MOUNT_STAT_OFF || (!m->stat && !m->perms && !m->has_ids))
		return;
	share->owner = FS_OWNER_XATTR;
	share->records = (struct fs_records){
		.need = m->stat == MOUNT_STAT_STRICT ? FS_RECORD_ALWAYS : FS_RECORD_TO_WRITE,
		.perms = perms[m->perms],
		.packed = true,
		.has_ids = m->has_ids,
		.uid = m->uid,
		.gid = m->gid,
	};
}

static bool same_policy(const struct setup_share *a, const struct setup_share *b)
{
	const struct fs_records *x = &a->records, *y = &b->records;

	return a->owner == b->owner && x->need == y->need && x->perms == y->perms &&
	       x->has_ids == y->has_ids && x->uid == y->uid && x->gid == y->gid;
}

/* Before the guest is started: it would find it out when nothing can be done any more. */
static int check_policy(const struct mount_arg *m, int fd, struct err *err)
{
	int rc = m->stat == MOUNT_STAT_STRICT ? fs_takes_records(fd, m->flags.readonly) : 0;

	if (rc == -EOPNOTSUPP)
		return err_msg(err, EOPNOTSUPP,
			"stat-virt=strict: the file system of '%s' keeps no user.* attributes; "
			"use stat-virt=relaxed or off",
			m->source);
	return rc < 0 ? err_set(err, rc, "stat-virt=strict: try attributes of '%s'", m->source) : 0;
}

/* ---- folders and files ---- */

/*
 * What a guest may write to must not choose what the next one gets: no symbolic link is followed on
 * the way, unless that is asked for (images.md 5.5).
 */
static int open_source(const struct mount_arg *m, int *ret, struct err *err)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = m->follow_links ? 0 : RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd = syscall(SYS_openat2, AT_FDCWD, m->source, &how, sizeof(how));
	cleanup_free char *real = NULL;

	if (fd >= 0) {
		*ret = (int)fd;
		return 0;
	}
	if (errno != ELOOP || m->follow_links)
		return err_set(err, errno, "mount '%s'", m->source);
	real = realpath(m->source, NULL);
	return err_msg(err, ELOOP,
		"mount '%s': a symbolic link is on the way; name the place itself%s%s%s, or add "
		"the option follow-root-symlinks",
		m->source, real ? " ('" : "", real ? real : "", real ? "')" : "");
}

static int add_folder(
	struct run_setup *s, const struct mount_arg *m, int fd, uint64_t quota, struct err *err)
{
	char tag[SETUP_TAG_MAX];
	struct setup_share *share;
	int rc = check_policy(m, fd, err);

	if (rc < 0) {
		close_fd(&fd);
		return rc;
	}
	setup_id_of(m->guest, tag);
	share = setup_add_share(s, tag, fd, m->flags.readonly, err);
	if (!share)
		return -E2BIG;
	share->quota = quota;
	set_policy(share, m);
	s->dirs[s->n_dirs++] = (struct dir_mount){
		.tag = text_of(share->tag),
		.guest_path = text_of(m->guest),
		.flags = m->flags,
	};
	return 0;
}

/*
 * All single files share one device, and those that may not be written another; each way of keeping
 * owners has its own as well.
 */
static struct setup_share *file_share(
	struct run_setup *s, const struct mount_arg *m, struct err *err)
{
	bool read_only = m->flags.readonly;
	struct setup_share *share, want = s->share[0];

	set_policy(&want, m);
	for (unsigned i = 1; i < s->n_shares; i++) {
		share = &s->share[i];
		if (share->n_extra > 0 && share->read_only == read_only &&
			same_policy(share, &want))
			return share;
	}
	share = setup_empty_share(s, read_only ? "files_ro" : "files", read_only, err);
	if (share)
		set_policy(share, m);
	return share;
}

static int add_file(struct run_setup *s, const struct mount_arg *m, int fd, struct err *err)
{
	cleanup_fd int owned = fd;
	struct setup_share *share = NULL;
	char *name = s->name[s->n_files];

	if (check_policy(m, fd, err) == 0)
		share = file_share(s, m, err);
	if (!share)
		return -EIO;
	(void)snprintf(name, SETUP_TAG_MAX, "f%u", s->n_files);
	share->extra[share->n_extra++] =
		(struct fs_extra){ .name = name, .bound = true, .fd = take_fd(&owned) };
	s->files[s->n_files++] = (struct file_mount){
		.tag = text_of(share->tag),
		.filename = text_of(name),
		.guest_path = text_of(m->guest),
		.flags = m->flags,
	};
	return 0;
}

/* images.md 6.4: a guest cannot fill the host's disk because nobody thought of it. */
static uint64_t quota_of(const struct mount_arg *m)
{
	if (m->no_quota)
		return 0;
	return m->quota ? m->quota : MOUNT_QUOTA_DEFAULT;
}

static int add_host(struct run_setup *s, const struct mount_arg *m, struct err *err)
{
	cleanup_fd int fd = -1;
	struct stat st;
	int rc = open_source(m, &fd, err);

	if (rc < 0)
		return rc;
	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "mount '%s'", m->source);
	if (m->kind == MOUNT_HOST_FILE && S_ISDIR(st.st_mode))
		return err_msg(err, EISDIR, "mount '%s': it is a folder", m->source);
	if (S_ISDIR(st.st_mode))
		return add_folder(s, m, take_fd(&fd), quota_of(m), err);
	if (m->kind == MOUNT_HOST_DIR)
		return err_msg(err, ENOTDIR, "mount '%s': it is not a folder", m->source);
	if (!S_ISREG(st.st_mode))
		return err_msg(
			err, EINVAL, "mount '%s': neither a folder nor a regular file", m->source);
	if (m->quota || m->no_quota)
		return err_msg(err, EINVAL, "mount '%s': it is a file, and quota= is for folders",
			m->source);
	return add_file(s, m, take_fd(&fd), err);
}

/* A file has no place for anything in it. */
static int check_below_files(
	const struct run_setup *s, const struct mount_args *mounts, struct err *err)
{
	for (unsigned i = 0; i < s->n_files; i++) {
		const char *file = s->files[i].guest_path.s;

		for (unsigned j = 0; j < mounts->n; j++) {
			if (mount_is_below(mounts->v[j].guest, file))
				return err_msg(err, EDOM,
					"mount at '%s': below '%s', where a file is mounted",
					mounts->v[j].guest, file);
		}
	}
	return 0;
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
	disk = setup_open_disk(s, id, m->source, m->format, !m->flags.readonly, &m->backing, err);
	return disk ? add_disk(s, m, disk, m->fstype) : -EIO;
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
	setup_label(disk, "volume '%s'", m->source);
	s->lasting |= !m->flags.readonly;
	return add_disk(s, m, disk, VOLUME_DISK_FSTYPE);
}

static int check_disk_policy(const struct mount_arg *m, struct err *err)
{
	const char *policy = mount_has_policy(m);

	if (policy)
		return err_msg(
			err, EDOM, "volume '%s' is a disk: %s= is for folders", m->source, policy);
	return 0;
}

/* Is there what was asked for? A name alone takes a volume of either kind. */
static int check_known(const struct mount_arg *m, const struct volume_info *v, struct err *err)
{
	if (m->no_quota && v->quota_mib)
		return err_msg(err, EEXIST, "volume '%s' exists and has a quota: %llu MiB", v->name,
			(unsigned long long)v->quota_mib);
	return v->kind == VOLUME_DISK && !m->disk ? check_disk_policy(m, err) : 0;
}

static int no_volume(const struct mount_arg *m, struct err *err)
{
	return err_msg(err, ENOENT, "volume not found: %s; 'msb volume create %s' makes it",
		m->source, m->source);
}

/* @ret_created: to be removed again if a later step fails */
static int have_volume(
	const struct mount_arg *m, struct store *store, bool *ret_created, struct err *err)
{
	cleanup_volume_info struct volume_info *known = NULL;
	struct volume_spec spec = {
		.name = m->source,
		.kind = m->disk ? VOLUME_DISK : VOLUME_DIR,
		.quota_mib = m->quota / MIB(1),
		.capacity = m->disk ? MIB(m->size_mib) : 0,
		.format = volume_disk_make,
	};
	int rc = volume_check_name(m->source, err);

	if (rc == 0 && m->create == MOUNT_CREATE) {
		rc = volume_create(store, &spec, err);
		*ret_created = rc == 0;
		return rc;
	}
	rc = rc ? rc : catalogue_volume_get(store->catalogue, m->source, &known, err);
	if (rc == -ENOENT && m->create == MOUNT_EXISTING)
		return no_volume(m, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	rc = known ? check_known(m, known, err) : 0;
	if (rc < 0)
		return rc;
	if (known && !m->kind_given)
		spec.kind = known->kind;
	err_clear(err);
	return volume_ensure(store, &spec, ret_created, err);
}

static int add_volume(struct run_setup *s, const struct mount_arg *m, struct store *store,
	bool *ret_created, struct err *err)
{
	cleanup_volume_use struct volume_use use = VOLUME_USE_INIT;
	int rc = have_volume(m, store, ret_created, err);

	rc = rc ? rc : volume_use(store, m->source, m->flags.readonly, &use, err);
	if (rc < 0)
		return rc;
	if (use.kind == VOLUME_DISK)
		return use_disk(s, m, &use, err);
	return add_folder(s, m, take_fd(&use.fd), use.quota, err);
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

static bool is_named_before(const struct mount_args *mounts, unsigned i)
{
	for (unsigned j = 0; j < i; j++) {
		if (mounts->v[j].kind == MOUNT_VOLUME &&
			strcmp(mounts->v[j].source, mounts->v[i].source) == 0)
			return true;
	}
	return false;
}

/* The catalogue is closed again before anything is forked. */
static int add_volumes(struct run_setup *s, const struct mount_args *mounts, struct err *err)
{
	cleanup_store struct store store = { 0 };
	int rc;

	rc = store_open_to_use(&store, err);
	for (unsigned i = 0; i < mounts->n && rc == 0; i++) {
		bool created = false;

		if (mounts->v[i].kind != MOUNT_VOLUME)
			continue;
		rc = add_volume(s, &mounts->v[i], &store, &created, err);
		if (rc == -EBUSY && is_named_before(mounts, i))
			rc = err_msg(err, EBUSY,
				"volume '%s' is a disk, which cannot be mounted twice",
				mounts->v[i].source);
		if (created)
			s->created[s->n_created++] = mounts->v[i].source;
	}
	return rc;
}

void setup_undo(struct run_setup *s)
{
	cleanup_store struct store store = { 0 };

	setup_close_worker_ends(s); /* or they would be in use */
	if (!s->n_created || store_open(CATALOGUE_WRITE, &store, NULL) < 0)
		return;
	while (s->n_created > 0)
		(void)volume_remove(&store, s->created[--s->n_created], NULL);
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
	if (rc == 0)
		rc = check_below_files(s, &args->mounts, err);
	/* Last, so that no other mount fails once a volume has been created. */
	if (rc == 0 && has_volumes(&args->mounts))
		rc = add_volumes(s, &args->mounts, err);
	return rc;
}
