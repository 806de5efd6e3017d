/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>

#include "lib/num.h"
#include "store/sql.h"
#include "store/store.h"
#include "store/test_util.h"

#define X8(c)	  c c c c c c c c
#define DIGEST(c) "sha256:" X8(X8(c))

static struct home open_home(const struct scratch *s)
{
	struct home h = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(setenv("MSB_HOME", s->path, 1), 0);
	assert_int_equal(home_init(&h, &err), 0);
	return h;
}

static struct catalogue *open_catalogue(const struct home *h, enum catalogue_mode mode)
{
	struct catalogue *c = NULL;
	struct err err = ERR_INIT;
	int rc = catalogue_open(h, mode, &c, &err);

	if (rc < 0)
		fail_msg("%s", err.msg);
	return c;
}

static int put(struct catalogue *c, const char *reference, const char *digest, const char *diff_id,
	struct err *err)
{
	struct catalogue_layer layers[] = { { diff_id, DIGEST("b"), "tar", 10, 4096 },
		{ DIGEST("0"), DIGEST("b"), "tar", 10, 4096 },
		{ diff_id, DIGEST("b"), "tar", 10, 4096 } };
	struct catalogue_image image = { .reference = reference,
		.manifest_digest = digest,
		.config_digest = DIGEST("c"),
		.architecture = "amd64",
		.os = "linux",
		.total_size = 30,
		.env = "[\"A=b\"]",
		.layers = layers,
		.layer_count = 3 };

	return catalogue_image_put(c, &image, err);
}

static int64_t count(struct catalogue *c, const char *table)
{
	char sql[128];
	struct err err = ERR_INIT;
	int64_t n = -1;

	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
	assert_int_equal(sql_number(c, &n, &err, sql, ""), 1);
	return n;
}

static void is_made_once(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *a = open_catalogue(&h, CATALOGUE_WRITE);
	cleanup_catalogue struct catalogue *b = open_catalogue(&h, CATALOGUE_WRITE);

	assert_int_equal(count(a, "seaql_migrations"), 13);
	assert_int_equal(count(b, "seaql_migrations"), 13);
	assert_int_equal(count(b, "sqlite_master WHERE name NOT LIKE 'sqlite_%'"), 22);
}

static void reading_changes_nothing(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = open_home(s);
	cleanup_catalogue struct catalogue *none = open_catalogue(&h, CATALOGUE_READ);
	struct err err = ERR_INIT;

	assert_int_equal(count(none, "image_ref"), 0);
	assert_false(exists(s->fd, "db"));
	catalogue_close(open_catalogue(&h, CATALOGUE_WRITE));
	catalogue_close(none);
	none = open_catalogue(&h, CATALOGUE_READ);
	assert_int_equal(put(none, "r", DIGEST("a"), DIGEST("d"), &err), -EROFS);
}

static off_t size_of(const struct scratch *s, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(s->fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_size;
}

/* Who reads on a full disk has no other lock that would keep the log from being taken over. */
static void checkpoints_wait_for_who_reads_without_a_log(void **state)
{
	struct flock lock = { .l_type = F_RDLCK, .l_start = 0x40000000, .l_len = 1 };
	const struct scratch *s = *state;
	cleanup_home struct home h = open_home(s);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE);
	cleanup_fd int reader = openat(s->fd, "db/msb.db", O_RDONLY | O_CLOEXEC);
	struct err err = ERR_INIT;
	off_t before;

	assert_int_equal(put(c, "r", DIGEST("a"), DIGEST("d"), &err), 0);
	before = size_of(s, "db/msb.db");
	assert_int_equal(fcntl(reader, F_OFD_SETLK, &lock), 0);
	catalogue_checkpoint(c);
	assert_true(size_of(s, "db/msb.db") == before);
	lock.l_type = F_UNLCK;
	assert_int_equal(fcntl(reader, F_OFD_SETLK, &lock), 0);
	catalogue_checkpoint(c);
	assert_true(size_of(s, "db/msb.db") > before);
}

static void images_come_back(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE);
	cleanup_catalogue_image struct catalogue_image *i = NULL;
	struct err err = ERR_INIT;
	struct catalogue_image *list;
	size_t n;

	assert_int_equal(catalogue_image_get(c, "r", &i, &err), -ENOENT);
	assert_int_equal(put(c, "r", DIGEST("a"), DIGEST("d"), &err), 0);
	assert_int_equal(put(c, "r", DIGEST("a"), DIGEST("d"), &err), 0);
	assert_int_equal(catalogue_image_tag(c, "r", "s", &err), 0);
	assert_int_equal(catalogue_image_tag(c, "q", "s", &err), -ENOENT);
	assert_int_equal(catalogue_image_get(c, "s", &i, &err), 0);
	assert_string_equal(i->manifest_digest, DIGEST("a"));
	assert_string_equal(i->env, "[\"A=b\"]");
	assert_null(i->cmd);
	assert_int_equal(i->layer_count, 3);
	assert_string_equal(i->layers[0].diff_id, DIGEST("d"));
	assert_string_equal(i->layers[1].diff_id, DIGEST("0"));
	assert_string_equal(i->layers[2].diff_id, DIGEST("d"));
	assert_int_equal(i->layers[2].erofs_size, 4096);
	assert_int_equal(catalogue_image_list(c, &list, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(list[0].reference, "s");
	assert_int_equal(list[0].layer_count, 3);
	catalogue_images_free(list, n);
}

static void removal_takes_what_nobody_else_needs(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE);
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	struct err err = ERR_INIT;

	assert_int_equal(put(c, "r", DIGEST("a"), DIGEST("d"), &err), 0);
	assert_int_equal(put(c, "s", DIGEST("f"), DIGEST("e"), &err), 0);
	assert_int_equal(catalogue_image_tag(c, "r", "r2", &err), 0);
	assert_int_equal(catalogue_image_remove(c, "r", false, &gone, &err), 0);
	assert_null(gone.manifest);
	assert_int_equal(catalogue_image_remove(c, "r", false, &gone, &err), -ENOENT);
	assert_int_equal(catalogue_image_remove(c, "r2", false, &gone, &err), 0);
	assert_string_equal(gone.manifest, DIGEST("a"));
	assert_int_equal(gone.n, 1); /* the other layer is shared */
	assert_string_equal(gone.diff_ids[0], DIGEST("d"));
	assert_int_equal(count(c, "manifest"), 1);
	assert_int_equal(count(c, "config"), 1);
	/* A reference that moves on forgets what it meant. */
	assert_int_equal(put(c, "s", DIGEST("a"), DIGEST("d"), &err), 0);
	assert_int_equal(count(c, "manifest"), 1);
	assert_int_equal(catalogue_has_layer(c, DIGEST("e"), &err), 0);
	assert_int_equal(catalogue_has_layer(c, DIGEST("d"), &err), 1);
}

static void make_sandbox(struct catalogue *c, const char *digest)
{
	struct err err = ERR_INIT;

	assert_int_equal(
		sql_run(c, &err,
			"INSERT INTO sandbox (name, config, status) VALUES ('box', "
			"'{\"mounts\":[{\"type\":\"Named\",\"name\":\"vol\"}]}', 'Running')",
			""),
		0);
	assert_int_equal(sql_run(c, &err,
				 "INSERT INTO sandbox_rootfs (sandbox_id, manifest_id, mode)"
				 " SELECT sandbox.id, manifest.id, 'erofs' FROM sandbox, manifest"
				 " WHERE digest = ?",
				 "t", digest),
		0);
}

static bool unused(void *ctx, const char *digest)
{
	return ctx && strcmp(ctx, digest) == 0;
}

static void images_of_sandboxes_stay(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE);
	cleanup_catalogue_gone struct catalogue_gone gone = { 0 };
	struct catalogue_pruned pruned;
	struct err err = ERR_INIT;

	assert_int_equal(put(c, "used", DIGEST("a"), DIGEST("d"), &err), 0);
	assert_int_equal(put(c, "free", DIGEST("f"), DIGEST("e"), &err), 0);
	assert_int_equal(put(c, "runs", DIGEST("9"), DIGEST("8"), &err), 0);
	make_sandbox(c, DIGEST("a"));
	assert_int_equal(catalogue_image_remove(c, "used", false, &gone, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "'box'"));
	assert_int_equal(
		catalogue_image_prune(c, unused, (void *)DIGEST("9"), UINT_MAX, &pruned, &err), 0);
	assert_int_equal(pruned.references, 1);
	assert_int_equal(pruned.manifests, 1);
	assert_int_equal(pruned.layers, 1);
	assert_int_equal(catalogue_image_remove(c, "used", true, &gone, &err), 0);
	assert_null(gone.manifest);
	assert_int_equal(catalogue_has_manifest(c, DIGEST("a"), &err), 1);
}

static void volumes_come_back(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE);
	struct volume_info v = { .name = "vol", .kind = VOLUME_DISK, .capacity = MIB(7) };
	cleanup_volume_info struct volume_info *back = NULL;
	cleanup_free char *user = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(catalogue_volume_add(c, &v, &err), 0);
	assert_int_equal(catalogue_volume_add(c, &v, &err), -EEXIST);
	assert_string_equal(err.msg, "volume already exists: vol");
	assert_int_equal(catalogue_volume_get(c, "vol", &back, &err), 0);
	assert_int_equal(back->kind, VOLUME_DISK);
	assert_int_equal(back->capacity, MIB(7));
	assert_int_equal(back->quota_mib, 0);
	make_sandbox(c, "none");
	assert_int_equal(catalogue_volume_user(c, "vol", &user, &err), 0);
	assert_string_equal(user, "box");
	assert_int_equal(catalogue_volume_delete(c, "vol", &err), 0);
	assert_int_equal(catalogue_volume_delete(c, "vol", &err), -ENOENT);
}

static void other_releases_are_refused(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = open_home(s);
	cleanup_catalogue struct catalogue *c = open_catalogue(&h, CATALOGUE_WRITE), *none = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(
		sql_exec(
			c, "INSERT INTO seaql_migrations VALUES ('m20270101_000001_new', 1)", &err),
		0);
	assert_int_equal(catalogue_open(&h, CATALOGUE_WRITE, &none, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "newer release (migration 'm20270101_000001_new')"));
	assert_int_equal(catalogue_open(&h, CATALOGUE_READ, &none, &err), -EPROTONOSUPPORT);
	assert_int_equal(
		sql_exec(c, "DELETE FROM seaql_migrations WHERE version > 'm202606'", &err), 0);
	assert_int_equal(catalogue_open(&h, CATALOGUE_WRITE, &none, &err), -EPROTONOSUPPORT);
	assert_non_null(strstr(err.msg, "older release (10 of 13 migrations)"));
}

static void strange_files_are_refused(void **state)
{
	const struct scratch *s = *state;
	cleanup_home struct home h = open_home(s);
	struct catalogue *none = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(mkdirat(s->fd, "db", 0700), 0);
	put_file(s->fd, "db/msb.db", "this is not a database, and long enough to show it", 50);
	assert_int_equal(catalogue_open(&h, CATALOGUE_WRITE, &none, &err), -EBADMSG);
	assert_int_equal(catalogue_open(&h, CATALOGUE_READ, &none, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, s->path));
}

/* --- many processes */

#define WRITERS 20
#define EACH	10

/* No assertions here: they would run the rest of the tests in the child. */
static void write_in_child(const struct home *h, unsigned who)
{
	for (unsigned i = 0; i < EACH; i++) {
		struct catalogue *c = NULL;
		char name[32];
		struct volume_info v = { .name = name };
		struct err err = ERR_INIT;
		int rc;

		(void)snprintf(name, sizeof(name), "v%u-%u", who, i);
		rc = catalogue_open(h, CATALOGUE_WRITE, &c, &err);
		rc = rc ? rc : catalogue_volume_add(c, &v, &err);
		rc = rc ? rc : put(c, name, DIGEST("a"), DIGEST("d"), &err);
		catalogue_close(c);
		if (rc < 0) {
			(void)!write(2, err.msg, strlen(err.msg));
			_exit(1);
		}
	}
	_exit(0);
}

/* Each writer also races to make the catalogue. */
static void concurrent_writers_lose_nothing(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = NULL;
	pid_t pid[WRITERS];
	int status;

	for (unsigned i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			write_in_child(&h, i);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	c = open_catalogue(&h, CATALOGUE_READ);
	assert_int_equal(count(c, "volume"), WRITERS * EACH);
	assert_int_equal(count(c, "image_ref"), WRITERS * EACH);
	assert_int_equal(count(c, "manifest_layer"), 3);
}

/* struct told - what a writer reports when a row is in the catalogue */
struct told {
	uint8_t who, row;
};

static void told_name(struct told t, char ret[static 32])
{
	(void)snprintf(ret, 32, "w%u-%u", t.who, t.row);
}

static void write_and_tell(const struct home *h, uint8_t who, int fd)
{
	for (uint8_t row = 0; row < EACH; row++) {
		struct told t = { who, row };
		struct catalogue *c = NULL;
		char name[32];
		struct volume_info v = { .name = name };
		int rc;

		told_name(t, name);
		rc = catalogue_open(h, CATALOGUE_WRITE, &c, NULL);
		rc = rc ? rc : catalogue_volume_add(c, &v, NULL);
		rc = rc ? rc : put(c, name, DIGEST("a"), DIGEST("d"), NULL);
		/* Every other writer leaves the catalogue open when it ends or is killed. */
		if (who % 2)
			catalogue_close(c);
		if (rc < 0 || write(fd, &t, sizeof(t)) != sizeof(t))
			_exit(1);
	}
	_exit(0);
}

static void assert_row(struct catalogue *c, const char *table, const char *column, struct told t)
{
	char sql[128], name[32];
	int64_t n = 0;

	told_name(t, name);
	(void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s WHERE %s = ?", table, column);
	assert_int_equal(sql_number(c, &n, NULL, sql, "t", name), 1);
	if (n != 1)
		fail_msg("%s of '%s' is lost", table, name);
}

static void assert_sound(struct catalogue *c)
{
	cleanup_stmt sqlite3_stmt *s = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(sql_prepare(c, &s, &err, "PRAGMA integrity_check", ""), 0);
	assert_int_equal(sql_step(c, s, &err), 1);
	assert_string_equal((const char *)sqlite3_column_text(s, 0), "ok");
	assert_int_equal(count(c, "pragma_foreign_key_check"), 0);
}

/* Half of the writers are killed, wherever they are, beside the others. */
static void kills_beside_writers_lose_nothing(void **state)
{
	cleanup_home struct home h = open_home(*state);
	cleanup_catalogue struct catalogue *c = NULL;
	struct told told[WRITERS * EACH];
	unsigned n = 0, killed = 0;
	pid_t pid[WRITERS];
	int ready[2], status;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	for (uint8_t i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		if (pid[i] == 0)
			write_and_tell(&h, i, ready[1]);
	}
	close(ready[1]);
	while (read(ready[0], &told[n], sizeof(told[n])) == sizeof(told[n])) {
		n++;
		if (n % 5 == 0 && killed < WRITERS / 2)
			assert_int_equal(kill(pid[killed++], SIGKILL), 0);
	}
	close(ready[0]);
	c = open_catalogue(&h, CATALOGUE_WRITE);
	assert_sound(c);
	for (unsigned i = 0; i < n; i++) {
		assert_row(c, "volume", "name", told[i]);
		assert_row(c, "image_ref", "reference", told[i]);
	}
	for (unsigned i = 0; i < WRITERS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_true(i < killed || status == 0);
	}
	assert_true(n >= (WRITERS - killed) * EACH);
}

static void write_until_killed(const struct home *h, int fd)
{
	struct catalogue *c = NULL;

	if (catalogue_open(h, CATALOGUE_WRITE, &c, NULL) < 0)
		_exit(1);
	for (unsigned i = 0;; i++) {
		char name[32];
		struct volume_info v = { .name = name };

		(void)snprintf(name, sizeof(name), "%d-%u", getpid(), i);
		if (catalogue_volume_add(c, &v, NULL) < 0 ||
			put(c, name, DIGEST("a"), DIGEST("d"), NULL) < 0)
			_exit(2);
		/* What has been reported must not be lost. */
		if (write(fd, "x", 1) != 1)
			_exit(3);
	}
}

static void kills_leave_a_sound_catalogue(void **state)
{
	cleanup_home struct home h = open_home(*state);
	int64_t reported = 0;

	for (unsigned round = 0; round < 25; round++) {
		cleanup_catalogue struct catalogue *c = NULL;
		int ready[2], status;
		char byte;
		pid_t pid;

		assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
		pid = fork();
		if (pid == 0)
			write_until_killed(&h, ready[1]);
		close(ready[1]);
		for (unsigned i = 0; i < 1 + round % 5; i++, reported++)
			read_byte(ready[0]);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		while (read(ready[0], &byte, 1) == 1)
			reported++;
		close(ready[0]);
		c = open_catalogue(&h, CATALOGUE_WRITE);
		assert_sound(c);
		assert_true(count(c, "image_ref") >= reported);
		assert_in_range(count(c, "volume") - count(c, "image_ref"), 0, round + 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(is_made_once),
		scratch_test(reading_changes_nothing),
		scratch_test(checkpoints_wait_for_who_reads_without_a_log),
		scratch_test(images_come_back),
		scratch_test(removal_takes_what_nobody_else_needs),
		scratch_test(images_of_sandboxes_stay),
		scratch_test(volumes_come_back),
		scratch_test(other_releases_are_refused),
		scratch_test(strange_files_are_refused),
		scratch_test(concurrent_writers_lose_nothing),
		scratch_test(kills_leave_a_sound_catalogue),
		scratch_test(kills_beside_writers_lose_nothing),
	};

	return cmocka_run_group_tests_name("store_catalogue", tests, NULL, NULL);
}
