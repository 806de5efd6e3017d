/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume is built under a name with a dot in front, which no volume can have, and renamed; it is
 * renamed to such a name before it is deleted. A process that is killed meanwhile leaves nothing
 * that looks like a volume, and the next creation or removal sweeps it away: what is being built is
 * locked. Between renaming and the catalogue volume_mark() says what is to be finished.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/num.h"
#include "store/internal.h"
#include "store/store.h"

#define NEW_PREFIX  ".new-"
#define GONE_PREFIX ".gone-"
#define LOCKS_DIR   ".locks"
#define NAME_BYTES  200 /* leaves room for prefixes and suffixes */
#define VOLUME_MODE 0755
#define SWEEP_AGE_S 60

static bool name_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9');
}

int volume_check_name(const char *name, struct err *err)
{
	size_t n = 0;

	if (!*name)
		return err_msg(err, EINVAL, "a volume name must not be empty");
	while (name[n] && (name_char(name[n]) || (n > 0 && strchr("._-", name[n]))))
		n++;
	if (name[n])
		return err_msg(err, EINVAL,
			"a volume name must start with a letter or digit and contain only letters, "
			"digits, dots, hyphens and underscores: %.80s",
			name);
	if (n > NAME_BYTES)
		return err_msg(err, EINVAL, "a volume name has at most %d bytes", NAME_BYTES);
	return 0;
}

static int check_spec(const struct volume_spec *spec, struct err *err)
{
	int rc = volume_check_name(spec->name, err);

	if (rc < 0)
		return rc;
	if (spec->kind == VOLUME_DISK && (!spec->capacity || !spec->format))
		return err_msg(err, EINVAL, "volume '%s' is a disk and needs a size", spec->name);
	if (spec->kind == VOLUME_DISK && spec->quota_mib)
		return err_msg(err, EINVAL, "volume '%s' is a disk and has no quota", spec->name);
	if (spec->kind == VOLUME_DIR && spec->capacity)
		return err_msg(err, EINVAL, "volume '%s' is a folder and has no size", spec->name);
	return 0;
}

static int lock_volume(int dirfd, const char *name, struct lock *ret, struct err *err)
{
	char lock_name[NAME_BYTES + 8], what[NAME_BYTES + 16];
	cleanup_fd int fd = -1;

	if (mkdirat(dirfd, LOCKS_DIR, VOLUME_MODE) < 0 && errno != EEXIST)
		return err_set(err, errno, "create the folder for locks of volumes");
	fd = openat(dirfd, LOCKS_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, errno, "open the folder for locks of volumes");
	(void)snprintf(lock_name, sizeof(lock_name), "%s.lock", name);
	(void)snprintf(what, sizeof(what), "volume '%s'", name);
	return lock_take(fd, lock_name, LOCK_EXCLUSIVE, LOCK_SHORT_MS, what, ret, err);
}

/* --- labels */

/* ["K=V", ...] as [["K","V"], ...]; NULL without labels */
static int encode_labels(const char *const *labels, char **ret, struct err *err)
{
	json_t *list = labels && labels[0] ? json_array() : NULL;

	*ret = NULL;
	for (size_t i = 0; list && labels[i]; i++) {
		const char *eq = strchrnul(labels[i], '=');
		json_t *pair = json_pack(
			"[s%, s]", labels[i], (size_t)(eq - labels[i]), *eq ? eq + 1 : "");

		if (!pair || json_array_append_new(list, pair) < 0) {
			json_decref(list);
			return err_msg(err, EINVAL, "the label '%.80s' is not UTF-8", labels[i]);
		}
	}
	if (!list)
		return 0;
	*ret = json_dumps(list, JSON_COMPACT);
	json_decref(list);
	return *ret ? 0 : err_set(err, ENOMEM, "encode labels");
}

static bool has_label(const json_t *list, const char *key, size_t key_len, const char *value)
{
	const json_t *pair;
	size_t i;

	json_array_foreach(list, i, pair)
	{
		const char *k = json_string_value(json_array_get(pair, 0));
		const char *v = json_string_value(json_array_get(pair, 1));

		if (k && v && strlen(k) == key_len && memcmp(k, key, key_len) == 0 &&
			strcmp(v, value) == 0)
			return true;
	}
	return false;
}

static const char *missing_label(const struct volume_info *v, const char *const *labels)
{
	json_t *list = v->labels ? json_loads(v->labels, 0, NULL) : NULL;
	const char *missing = NULL;

	for (size_t i = 0; labels && labels[i] && !missing; i++) {
		const char *eq = strchrnul(labels[i], '=');

		if (!has_label(list, labels[i], (size_t)(eq - labels[i]), *eq ? eq + 1 : ""))
			missing = labels[i];
	}
	json_decref(list);
	return missing;
}

/* --- what is left */

static bool left_behind(const char *name)
{
	return strncmp(name, NEW_PREFIX, strlen(NEW_PREFIX)) == 0 ||
	       strncmp(name, GONE_PREFIX, strlen(GONE_PREFIX)) == 0;
}

/* What other processes left when they were killed; those that live hold a lock, or soon will. */
static void sweep(int dirfd_)
{
	int fd = openat(dirfd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		cleanup_fd int folder = -1;
		struct stat st;

		if (!left_behind(e->d_name))
			continue;
		folder = openat(dirfd_, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0 &&
			fstat(folder, &st) == 0 && st.st_mtime + SWEEP_AGE_S < time(NULL))
			(void)tree_remove(dirfd_, e->d_name, NULL);
	}
}

/* --- creating */

static void dot_name(const char *prefix, const char *name, char *ret, size_t size)
{
	uint32_t r = 0;

	(void)!getrandom(&r, sizeof(r), GRND_NONBLOCK);
	(void)snprintf(ret, size, "%s%s.%08x", prefix, name, r);
}

/* What volume_use() finds under the name is complete and on the disk. */
static int build(
	int dirfd, const char *tmp, const struct volume_spec *spec, int *ret_fd, struct err *err)
{
	cleanup_fd int fd = -1;
	int rc = 0;

	if (mkdirat(dirfd, tmp, VOLUME_MODE) < 0)
		return err_set(err, errno, "create the folder of volume '%s'", spec->name);
	fd = openat(dirfd, tmp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, errno, "open the folder of volume '%s'", spec->name);
	if (spec->kind == VOLUME_DISK)
		rc = spec->format(fd, VOLUME_DISK_NAME, spec->capacity, err);
	rc = rc ? rc : dir_sync(fd, spec->name, err);
	if (rc == 0)
		*ret_fd = take_fd(&fd);
	return rc;
}

static int name_volume(
	struct store *store, int dirfd, const char *tmp, const char *name, struct err *err)
{
	if (renameat2(dirfd, tmp, dirfd, name, RENAME_NOREPLACE) < 0) {
		if (errno == EEXIST)
			return err_msg(err, EEXIST,
				"'%s/%s' is in the way and belongs to no volume; move it away",
				store->home.dir[HOME_VOLUMES], name);
		return err_set(err, errno, "name the folder of volume '%s'", name);
	}
	return dir_sync(dirfd, name, err);
}

static int add_row(struct store *store, const struct volume_spec *spec, struct err *err)
{
	bool disk = spec->kind == VOLUME_DISK;
	cleanup_free char *labels = NULL;
	struct volume_info v = {
		.name = spec->name,
		.kind = spec->kind,
		.quota_mib = spec->quota_mib,
		.capacity = spec->capacity,
		.disk_format = disk ? VOLUME_DISK_FORMAT : NULL,
		.disk_fstype = disk ? VOLUME_DISK_FSTYPE : NULL,
	};
	int rc = encode_labels(spec->labels, &labels, err);

	if (rc < 0)
		return rc;
	v.labels = labels;
	return catalogue_volume_add(store->catalogue, &v, err);
}

static int make_named(struct store *store, int dirfd, const char *tmp,
	const struct volume_spec *spec, const struct lock *lock, struct err *err)
{
	int rc = volume_mark(lock, VOLUME_BEING_MADE, err);

	rc = rc ? rc : name_volume(store, dirfd, tmp, spec->name, err);
	if (rc < 0) {
		(void)tree_remove(dirfd, tmp, NULL);
	} else {
		rc = add_row(store, spec, err);
		if (rc < 0)
			(void)tree_remove(dirfd, spec->name, NULL);
	}
	(void)volume_mark(lock, VOLUME_SETTLED, NULL);
	return rc;
}

static int create_locked(struct store *store, int dirfd, const struct volume_spec *spec,
	const struct lock *lock, struct err *err)
{
	char tmp[NAME_BYTES + 32];
	cleanup_fd int fd = -1;
	int rc;

	dot_name(NEW_PREFIX, spec->name, tmp, sizeof(tmp));
	rc = build(dirfd, tmp, spec, &fd, err);
	if (rc < 0) {
		(void)tree_remove(dirfd, tmp, NULL);
		return rc;
	}
	sweep(dirfd);
	return make_named(store, dirfd, tmp, spec, lock, err);
}

int volume_create(struct store *store, const struct volume_spec *spec, struct err *err)
{
	cleanup_volume_info struct volume_info *there = NULL;
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_fd int dirfd = -1;
	int rc = check_spec(spec, err);

	rc = rc ? rc : home_open_dir(&store->home, HOME_VOLUMES, true, &dirfd, err);
	rc = rc ? rc : lock_volume(dirfd, spec->name, &lock, err);
	rc = rc ? rc : volume_recover(store, dirfd, spec->name, &lock, err);
	if (rc < 0)
		return rc;
	rc = catalogue_volume_get(store->catalogue, spec->name, &there, err);
	if (rc == 0)
		return err_msg(err, EEXIST, "volume already exists: %s", spec->name);
	if (rc != -ENOENT)
		return rc;
	err_clear(err);
	return create_locked(store, dirfd, spec, &lock, err);
}

static int compare(const struct volume_spec *spec, const struct volume_info *v, struct err *err)
{
	const char *label = missing_label(v, spec->labels);

	if (spec->kind != v->kind)
		return err_msg(err, EEXIST, "volume '%s' exists and is a %s, not a %s", v->name,
			v->kind == VOLUME_DISK ? "disk" : "folder",
			spec->kind == VOLUME_DISK ? "disk" : "folder");
	if (spec->capacity && spec->capacity != v->capacity)
		return err_msg(err, EEXIST, "volume '%s' exists and has %llu MiB, not %llu",
			v->name, (unsigned long long)(v->capacity >> 20),
			(unsigned long long)(spec->capacity >> 20));
	if (spec->quota_mib && spec->quota_mib != v->quota_mib)
		return err_msg(err, EEXIST, "volume '%s' exists and has another quota: %llu MiB",
			v->name, (unsigned long long)v->quota_mib);
	if (label)
		return err_msg(err, EEXIST, "volume '%s' exists without the label '%.80s'", v->name,
			label);
	return 0;
}

/* A row without a folder: of a removal that was killed, or somebody took the folder away. */
static int check_folder(struct store *store, const char *name, struct err *err)
{
	cleanup_volume_info struct volume_info *v = NULL;
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_fd int dirfd = -1;
	struct stat st;
	int rc = home_open_dir(&store->home, HOME_VOLUMES, true, &dirfd, err);

	if (rc < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return rc;
	rc = lock_volume(dirfd, name, &lock, err);
	rc = rc ? rc : volume_recover(store, dirfd, name, &lock, err);
	rc = rc ? rc : catalogue_volume_get(store->catalogue, name, &v, err);
	if (rc < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return rc;
	return err_msg(err, EIO,
		"volume '%s' has lost its folder '%s/%s': put it back, or 'msb volume rm %s'", name,
		store->home.dir[HOME_VOLUMES], name, name);
}

static int get_sound(
	struct store *store, const char *name, struct volume_info **ret, struct err *err)
{
	int rc = catalogue_volume_get(store->catalogue, name, ret, err);

	rc = rc ? rc : check_folder(store, name, err);
	if (rc < 0 && *ret) {
		volume_info_free(*ret);
		*ret = NULL;
	}
	return rc;
}

int volume_ensure(
	struct store *store, const struct volume_spec *spec, bool *ret_created, struct err *err)
{
	int rc = volume_check_name(spec->name, err);

	/* Twice, since another process may create or remove it in between. */
	for (unsigned i = 0; rc == 0 && i < 2; i++) {
		cleanup_volume_info struct volume_info *v = NULL;

		rc = get_sound(store, spec->name, &v, err);
		if (rc == 0)
			rc = compare(spec, v, err);
		if (rc == 0 && ret_created)
			*ret_created = false;
		if (rc != -ENOENT)
			return rc;
		err_clear(err);
		rc = volume_create(store, spec, err);
		if (rc == 0 && ret_created)
			*ret_created = true;
		if (rc != -EEXIST || i > 0)
			return rc;
		rc = 0;
	}
	return rc;
}

/* --- using */

int volume_path(const struct store *store, const struct volume_info *v, char **ret, struct err *err)
{
	if (asprintf(ret, "%s/%s%s", store->home.dir[HOME_VOLUMES], v->name,
		    v->kind == VOLUME_DISK ? "/" VOLUME_DISK_NAME : "") < 0)
		return err_set(err, ENOMEM, "name volume '%s'", v->name);
	return 0;
}

static int open_folder(struct store *store, const char *name, int *ret, struct err *err)
{
	cleanup_fd int dirfd = -1;
	int rc = home_open_dir(&store->home, HOME_VOLUMES, false, &dirfd, err);

	if (rc < 0)
		return rc;
	*ret = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *ret < 0 ? err_set(err, errno, "open the folder of volume '%s'", name) : 0;
}

static int open_disk(int folder, const char *name, bool read_only, int *ret, struct err *err)
{
	cleanup_fd int fd = openat(folder, VOLUME_DISK_NAME,
		(read_only ? O_RDONLY : O_RDWR) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, errno, "open the disk of volume '%s'", name);
	if (!S_ISREG(st.st_mode))
		return err_msg(err, EINVAL, "the disk of volume '%s' is no file", name);
	*ret = take_fd(&fd);
	return 0;
}

int volume_use(struct store *store, const char *name, bool read_only, struct volume_use *ret,
	struct err *err)
{
	cleanup_volume_info struct volume_info *v = NULL;
	cleanup_fd int folder = -1, fd = -1;
	char what[NAME_BYTES + 32];
	struct stat st;
	bool disk, alone;
	int rc = get_sound(store, name, &v, err);

	rc = rc ? rc : open_folder(store, name, &folder, err);
	if (rc < 0)
		return rc;
	disk = v->kind == VOLUME_DISK;
	alone = disk && !read_only;
	if (disk)
		rc = open_disk(folder, name, read_only, &fd, err);
	else
		fd = take_fd(&folder);
	(void)snprintf(what, sizeof(what), "volume '%s'", name);
	rc = rc ? rc : lock_fd(fd, alone ? LOCK_EXCLUSIVE : LOCK_SHARED, 0, what, err);
	if (rc < 0)
		return rc;
	/* Whoever removes it has it locked until it is gone. */
	if (fstat(fd, &st) == 0 && st.st_nlink == 0)
		return err_msg(err, ENOENT, "volume not found: %s", name);
	*ret = (struct volume_use){ v->kind, take_fd(&fd), disk ? 0 : MIB(v->quota_mib) };
	return 0;
}

void volume_use_release(struct volume_use *use)
{
	close_fd(&use->fd);
}

/* --- removing */

/*
 * A missing folder is what the removal wants. The locks end with the caller's scope: who uses a
 * disk has locked the disk alone, and sweep() asks the folder.
 */
static int lock_unused(struct store *store, const struct volume_info *v, int *ret_folder,
	int *ret_disk, struct err *err)
{
	cleanup_free char *sandbox = NULL;
	cleanup_fd int folder = -1, disk = -1;
	char what[NAME_BYTES + 32];
	int rc = catalogue_volume_user(store->catalogue, v->name, &sandbox, err);

	if (rc < 0)
		return rc;
	if (sandbox)
		return err_msg(
			err, EBUSY, "volume '%s' is in use by sandbox '%s'", v->name, sandbox);
	rc = open_folder(store, v->name, &folder, err);
	if (rc == 0 && v->kind == VOLUME_DISK)
		rc = open_disk(folder, v->name, false, &disk, err);
	if (rc == -ENOENT) {
		err_clear(err);
		return 0;
	}
	(void)snprintf(what, sizeof(what), "volume '%s'", v->name);
	rc = rc ? rc : lock_fd(folder, LOCK_EXCLUSIVE, 0, what, err);
	if (rc == 0 && disk >= 0)
		rc = lock_fd(disk, LOCK_EXCLUSIVE, 0, what, err);
	if (rc < 0)
		return rc;
	*ret_folder = take_fd(&folder);
	*ret_disk = take_fd(&disk);
	return 0;
}

static int remove_locked(struct store *store, int dirfd, const struct volume_info *v,
	const struct lock *lock, struct err *err)
{
	char gone[NAME_BYTES + 32];
	cleanup_fd int folder = -1, disk = -1;
	int rc = lock_unused(store, v, &folder, &disk, err);

	if (rc < 0)
		return rc;
	dot_name(GONE_PREFIX, v->name, gone, sizeof(gone));
	rc = volume_mark(lock, VOLUME_BEING_REMOVED, err);
	if (rc < 0)
		return rc;
	if (renameat2(dirfd, v->name, dirfd, gone, RENAME_NOREPLACE) < 0 && errno != ENOENT)
		rc = err_set(err, errno, "delete volume '%s'", v->name);
	rc = rc ? rc : catalogue_volume_delete(store->catalogue, v->name, err);
	if (rc < 0)
		(void)renameat2(dirfd, gone, dirfd, v->name, RENAME_NOREPLACE);
	(void)volume_mark(lock, VOLUME_SETTLED, NULL);
	rc = rc ? rc : tree_remove(dirfd, gone, err);
	sweep(dirfd);
	return rc;
}

int volume_remove(struct store *store, const char *name, struct err *err)
{
	cleanup_volume_info struct volume_info *v = NULL;
	cleanup_lock struct lock lock = LOCK_INIT;
	cleanup_fd int dirfd = -1;
	int rc = volume_check_name(name, err);

	rc = rc ? rc : catalogue_volume_get(store->catalogue, name, &v, err);
	rc = rc ? rc : home_open_dir(&store->home, HOME_VOLUMES, true, &dirfd, err);
	rc = rc ? rc : lock_volume(dirfd, name, &lock, err);
	rc = rc ? rc : volume_recover(store, dirfd, name, &lock, err);
	/* Before it was locked it may have become another volume, of the other kind. */
	if (rc == 0) {
		volume_info_free(take_ptr(&v));
		rc = catalogue_volume_get(store->catalogue, name, &v, err);
	}
	return rc ? rc : remove_locked(store, dirfd, v, &lock, err);
}
