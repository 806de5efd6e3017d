/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "lib/num.h"
#include "store/sql.h"
#include "store/store.h"
#include "store/test_util.h"

static struct store open_store(const struct scratch *s)
{
	struct store store = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(setenv("MSB_HOME", s->path, 1), 0);
	assert_int_equal(store_open(CATALOGUE_WRITE, &store, &err), 0);
	return store;
}

static int format(int dirfd, const char *name, uint64_t size, struct err *err)
{
	cleanup_fd int fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	return ftruncate(fd, (off_t)size) < 0 ? err_set(err, errno, "format") : 0;
}

static int format_fails(int dirfd, const char *name, uint64_t size, struct err *err)
{
	put_file(dirfd, name, "half", 4);
	return err_set(err, ENOSPC, "format");
}

static const struct volume_spec folder = { .name = "vol" };
static const struct volume_spec disk = {
	.name = "vol", .kind = VOLUME_DISK, .capacity = 16 << 20, .format = format
};

static void names(void **state)
{
	struct err err = ERR_INIT;
	char longest[202];

	memset(longest, 'a', 201);
	longest[201] = '\0';
	assert_int_equal(volume_check_name("a", &err), 0);
	assert_int_equal(volume_check_name("9.b-c_D", &err), 0);
	assert_int_equal(volume_check_name("", &err), -EINVAL);
	assert_int_equal(volume_check_name(".locks", &err), -EINVAL);
	assert_int_equal(volume_check_name("..", &err), -EINVAL);
	assert_int_equal(volume_check_name("a/b", &err), -EINVAL);
	assert_int_equal(volume_check_name("a b", &err), -EINVAL);
	assert_int_equal(volume_check_name("\xc3\xa4", &err), -EINVAL);
	assert_int_equal(volume_check_name(longest, &err), -EINVAL);
	assert_int_equal(volume_check_name(longest + 1, &err), 0);
}

static void a_folder_lives_and_dies(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	cleanup_volume_use struct volume_use a = VOLUME_USE_INIT, b = VOLUME_USE_INIT;
	static const char *const labels[] = { "k=v", "bare", NULL };
	struct volume_spec with_labels = folder;
	cleanup_volume_info struct volume_info *v = NULL;
	struct err err = ERR_INIT;

	with_labels.labels = labels;
	with_labels.quota_mib = 3;
	assert_int_equal(volume_use(&store, "vol", false, &a, &err), -ENOENT);
	assert_int_equal(volume_create(&store, &with_labels, &err), 0);
	assert_int_equal(volume_create(&store, &folder, &err), -EEXIST);
	assert_int_equal(catalogue_volume_get(store.catalogue, "vol", &v, &err), 0);
	assert_string_equal(v->labels, "[[\"k\",\"v\"],[\"bare\",\"\"]]");
	assert_int_equal(volume_use(&store, "vol", false, &a, &err), 0);
	assert_int_equal(volume_use(&store, "vol", true, &b, &err), 0);
	assert_int_equal(a.quota, MIB(3));
	put_file(a.fd, "file", "x", 1);
	assert_true(exists(s->fd, "volumes/vol/file"));
	volume_use_release(&a);
	assert_int_equal(volume_remove(&store, "vol", &err), -EBUSY);
	assert_non_null(strstr(err.msg, "in use by"));
	volume_use_release(&b);
	assert_int_equal(volume_remove(&store, "vol", &err), 0);
	assert_int_equal(volume_remove(&store, "vol", &err), -ENOENT);
	assert_string_equal(err.msg, "volume not found: vol");
	assert_false(exists(s->fd, "volumes/vol"));
}

static void a_disk_has_one_writer_or_many_readers(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	cleanup_volume_use struct volume_use a = VOLUME_USE_INIT, b = VOLUME_USE_INIT;
	struct err err = ERR_INIT;
	struct stat st;

	assert_int_equal(volume_create(&store, &disk, &err), 0);
	assert_int_equal(volume_use(&store, "vol", false, &a, &err), 0);
	assert_int_equal(fstat(a.fd, &st), 0);
	assert_int_equal(st.st_size, 16 << 20);
	assert_int_equal(volume_use(&store, "vol", true, &b, &err), -EBUSY);
	volume_use_release(&a);
	assert_int_equal(volume_use(&store, "vol", true, &a, &err), 0);
	assert_int_equal(volume_use(&store, "vol", true, &b, &err), 0);
	volume_use_release(&a);
	assert_int_equal(volume_use(&store, "vol", false, &a, &err), -EBUSY);
	assert_int_equal(volume_remove(&store, "vol", &err), -EBUSY);
	volume_use_release(&b);
	assert_int_equal(volume_remove(&store, "vol", &err), 0);
}

static void specs_must_fit(void **state)
{
	cleanup_store struct store store = open_store(*state);
	struct volume_spec spec = disk;
	struct err err = ERR_INIT;

	spec.capacity = 0;
	assert_int_equal(volume_create(&store, &spec, &err), -EINVAL);
	spec = disk;
	spec.quota_mib = 1;
	assert_int_equal(volume_create(&store, &spec, &err), -EINVAL);
	spec = folder;
	spec.capacity = 1;
	assert_int_equal(volume_create(&store, &spec, &err), -EINVAL);
}

static void failures_leave_nothing(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	struct volume_spec spec = disk;
	struct err err = ERR_INIT;
	struct volume_info *list;
	cleanup_dir DIR *d = NULL;
	struct dirent *e;
	size_t n;

	spec.format = format_fails;
	assert_int_equal(volume_create(&store, &spec, &err), -ENOSPC);
	assert_int_equal(catalogue_volume_list(store.catalogue, &list, &n, &err), 0);
	assert_int_equal(n, 0);
	free(list);
	/* What belongs to no volume is neither taken over nor deleted. */
	assert_int_equal(mkdirat(s->fd, "volumes/vol", 0700), 0);
	put_file(s->fd, "volumes/vol/file", "x", 1);
	assert_int_equal(volume_create(&store, &folder, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "belongs to no volume"));
	assert_true(exists(s->fd, "volumes/vol/file"));
	d = fdopendir(openat(s->fd, "volumes", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	while ((e = readdir(d)))
		assert_int_not_equal(strncmp(e->d_name, ".new", 4), 0);
}

static void ensure_compares(void **state)
{
	cleanup_store struct store store = open_store(*state);
	static const char *const labels[] = { "k=v", NULL };
	struct volume_spec spec = folder;
	struct err err = ERR_INIT;
	bool created;

	assert_int_equal(volume_ensure(&store, &folder, &created, &err), 0);
	assert_true(created);
	assert_int_equal(volume_ensure(&store, &folder, &created, &err), 0);
	assert_false(created);
	assert_int_equal(volume_ensure(&store, &disk, &created, &err), -EEXIST);
	spec.labels = labels;
	assert_int_equal(volume_ensure(&store, &spec, &created, &err), -EEXIST);
	spec.labels = NULL;
	spec.quota_mib = 4;
	assert_int_equal(volume_ensure(&store, &spec, &created, &err), -EEXIST);
}

static void links_lead_nowhere(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	struct volume_use use = VOLUME_USE_INIT;
	struct err err = ERR_INIT;

	assert_int_equal(volume_create(&store, &folder, &err), 0);
	assert_int_equal(mkdirat(s->fd, "kept", 0700), 0);
	put_file(s->fd, "kept/file", "x", 1);
	assert_int_equal(symlinkat("../../kept", s->fd, "volumes/vol/link"), 0);
	assert_int_equal(volume_remove(&store, "vol", &err), 0);
	assert_true(exists(s->fd, "kept/file"));
	/* Not even when the folder itself has been replaced by one. */
	assert_int_equal(volume_create(&store, &folder, &err), 0);
	assert_int_equal(unlinkat(s->fd, "volumes/vol", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("../kept", s->fd, "volumes/vol"), 0);
	assert_int_not_equal(volume_use(&store, "vol", false, &use, &err), 0);
	assert_int_not_equal(volume_remove(&store, "vol", &err), 0);
	assert_true(exists(s->fd, "kept/file"));
}

static void sandboxes_protect_volumes(void **state)
{
	cleanup_store struct store store = open_store(*state);
	struct err err = ERR_INIT;

	assert_int_equal(volume_create(&store, &folder, &err), 0);
	assert_int_equal(
		sql_run(store.catalogue, &err,
			"INSERT INTO sandbox (name, config, status) VALUES ('box', "
			"'{\"mounts\":[{\"type\":\"Named\",\"name\":\"vol\"}]}', 'Running')",
			""),
		0);
	assert_int_equal(volume_remove(&store, "vol", &err), -EBUSY);
	assert_non_null(strstr(err.msg, "sandbox 'box'"));
	assert_int_equal(
		sql_run(store.catalogue, &err, "UPDATE sandbox SET status = 'Stopped'", ""), 0);
	assert_int_equal(volume_remove(&store, "vol", &err), 0);
}

/* As if a process had been killed there: the letter is in the lock file, and the one or the other.
 */
static void leave_mark(const struct scratch *s, char letter)
{
	char path[256];
	cleanup_fd int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/volumes/.locks/vol.lock", s->path);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_int_equal(write(fd, &letter, 1), 1);
}

static char *volume_dir(const struct scratch *s, char path[256])
{
	(void)snprintf(path, 256, "%s/volumes/vol", s->path);
	return path;
}

static void what_was_killed_is_finished_or_undone(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	cleanup_volume_use struct volume_use use = VOLUME_USE_INIT;
	struct err err = ERR_INIT;
	bool created = false;
	char path[256], gone[256];

	assert_int_equal(volume_create(&store, &disk, &err), 0);
	/* Removing: the folder was gone, the row not yet. */
	(void)snprintf(gone, sizeof(gone), "%s/gone", s->path);
	assert_int_equal(rename(volume_dir(s, path), gone), 0);
	leave_mark(s, 'r');
	assert_int_equal(volume_use(&store, "vol", false, &use, &err), -ENOENT);
	assert_int_equal(volume_ensure(&store, &folder, &created, &err), 0);
	assert_true(created);
	/* Removing: nothing had happened yet. */
	leave_mark(s, 'r');
	assert_int_equal(volume_use(&store, "vol", false, &use, &err), 0);
	volume_use_release(&use);
	assert_int_equal(volume_create(&store, &folder, &err), -EEXIST);
	/* Creating: the folder was there, the row not yet. */
	assert_int_equal(catalogue_volume_delete(store.catalogue, "vol", &err), 0);
	leave_mark(s, 'c');
	assert_int_equal(volume_create(&store, &disk, &err), 0);
	/* Creating: all was done but to say so. */
	leave_mark(s, 'c');
	assert_int_equal(volume_create(&store, &folder, &err), -EEXIST);
	assert_int_equal(volume_use(&store, "vol", false, &use, &err), 0);
	assert_int_equal(use.kind, VOLUME_DISK);
	volume_use_release(&use);
}

/* Without the letter it may be anybody's. */
static void what_nobody_announced_is_left_alone(void **state)
{
	const struct scratch *s = *state;
	cleanup_store struct store store = open_store(s);
	cleanup_volume_use struct volume_use use = VOLUME_USE_INIT;
	struct err err = ERR_INIT;
	bool created = false;
	char path[256];

	assert_int_equal(volume_create(&store, &folder, &err), 0);
	assert_int_equal(catalogue_volume_delete(store.catalogue, "vol", &err), 0);
	assert_int_equal(volume_ensure(&store, &folder, &created, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "in the way"));
	assert_false(created);
	assert_int_equal(rmdir(volume_dir(s, path)), 0);
	assert_int_equal(volume_create(&store, &folder, &err), 0);
	assert_int_equal(rmdir(volume_dir(s, path)), 0);
	assert_int_equal(volume_use(&store, "vol", false, &use, &err), -EIO);
	assert_non_null(strstr(err.msg, "has lost its folder"));
	assert_int_equal(volume_remove(&store, "vol", &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		scratch_test(a_folder_lives_and_dies),
		scratch_test(a_disk_has_one_writer_or_many_readers),
		scratch_test(specs_must_fit),
		scratch_test(failures_leave_nothing),
		scratch_test(ensure_compares),
		scratch_test(links_lead_nowhere),
		scratch_test(sandboxes_protect_volumes),
		scratch_test(what_was_killed_is_finished_or_undone),
		scratch_test(what_nobody_announced_is_left_alone),
	};

	return cmocka_run_group_tests_name("store_volume", tests, NULL, NULL);
}
