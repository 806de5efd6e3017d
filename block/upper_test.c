/* SPDX-License-Identifier: Apache-2.0 */
/* The judges are e2fsck, debugfs and resize2fs of e2fsprogs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/upper.h"
#include "lib/num.h"

struct place {
	char dir[64];
	int fd;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/upper-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(p->fd >= 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;

	(void)unlinkat(p->fd, "u", 0);
	(void)unlinkat(p->fd, "v", 0);
	assert_int_equal(rmdir(p->dir), 0); /* nothing else was left */
	close(p->fd);
	free(p);
	return 0;
}

/* A command about file u. Return: its output, valid until the next call; it must succeed. */
static const char *run(const struct place *p, const char *fmt)
{
	static char out[16384];
	char cmd[256];
	size_t len;
	FILE *f;

	(void)snprintf(
		cmd, sizeof(cmd), "cd %s && PATH=$PATH:/usr/sbin:/sbin %s 2>&1", p->dir, fmt);
	f = popen(cmd, "r");
	assert_non_null(f);
	len = fread(out, 1, sizeof(out) - 1, f);
	out[len] = 0;
	if (pclose(f) != 0)
		fail_msg("%s: %s", fmt, out);
	return out;
}

static const char *const layer_dirs[] = { "upper", "work", NULL };

static void test_every_size_checks_clean(void **state)
{
	static const uint64_t sizes[] = { UPPER_MIN, MIB(17) + 4096, MIB(64), MIB(129),
		MIB(128) + 8192, MIB(500), MIB(1000), UPPER_DEFAULT, GIB(9) + 4096 * 33, GIB(100) };
	struct place *p = *state;

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct upper_config cfg = { .size = sizes[i], .dirs = layer_dirs };
		struct stat st;

		assert_int_equal(upper_create(p->fd, "u", &cfg, NULL), 0);
		assert_int_equal(fstatat(p->fd, "u", &st, 0), 0);
		assert_int_equal(st.st_size, sizes[i]);
		assert_int_equal(st.st_mode, S_IFREG | 0600);
		assert_true((uint64_t)st.st_blocks * 512 < MIB(2) + sizes[i] / 65536);
		(void)run(p, "e2fsck -fn u");
		assert_int_equal(unlinkat(p->fd, "u", 0), 0);
	}
}

static void test_contents(void **state)
{
	struct upper_config cfg = { .size = UPPER_DEFAULT, .dirs = layer_dirs };
	struct place *p = *state;
	const char *out;
	char uuid[64];

	(void)umask(077);
	assert_int_equal(upper_create(p->fd, "u", &cfg, NULL), 0);
	out = run(p, "debugfs -R 'ls -p /' u | grep -v debugfs | cut -d/ -f3-6 | sort");
	assert_string_equal(
		out, "\n040755/0/0/.\n040755/0/0/..\n040755/0/0/upper\n040755/0/0/work\n");
	out = run(p, "dumpe2fs -h u | grep -E '^(Reserved block count|Lifetime|Mount count)'");
	assert_non_null(strstr(out, "Reserved block count:     0\n"));
	(void)snprintf(uuid, sizeof(uuid), "%.60s", run(p, "dumpe2fs -h u | grep UUID"));
	cfg = (struct upper_config){ .size = UPPER_DEFAULT, .durable = true };
	assert_int_equal(unlinkat(p->fd, "u", 0), 0);
	assert_int_equal(upper_create(p->fd, "u", &cfg, NULL), 0);
	out = run(p, "debugfs -R 'ls -p /' u | grep -v debugfs | cut -d/ -f3-6 | sort");
	assert_string_equal(out, "\n040755/0/0/.\n040755/0/0/..\n");
	assert_string_not_equal(uuid, run(p, "dumpe2fs -h u | grep UUID"));
}

static void test_grows(void **state)
{
	struct upper_config cfg = { .size = MIB(64), .dirs = layer_dirs };
	struct place *p = *state;
	struct stat st;
	int fd;

	assert_int_equal(upper_create(p->fd, "u", &cfg, NULL), 0);
	fd = openat(p->fd, "u", O_RDWR | O_CLOEXEC);
	assert_int_equal(upper_grow(fd, MIB(32), NULL), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, MIB(64));
	assert_int_equal(upper_grow(fd, GIB(20), NULL), 0);
	assert_int_equal(upper_grow(fd, 4096, NULL), -EINVAL);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, GIB(20));
	close(fd);
	(void)run(p, "e2fsck -fn u");
	(void)run(p, "resize2fs u"); /* as the guest's kernel does, from the same reserve */
	(void)run(p, "e2fsck -fn u");
	assert_non_null(strstr(run(p, "dumpe2fs -h u | grep 'Block count'"), " 5242880\n"));
}

static void test_refuses(void **state)
{
	static const uint64_t sizes[] = { 0, 4096, UPPER_MIN - 4096, UPPER_MIN + 512,
		UPPER_MAX + 4096, UINT64_MAX, 1ULL << 63 };
	struct place *p = *state;
	struct err err = ERR_INIT;
	struct upper_config cfg = { .size = MIB(32) };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct upper_config bad = { .size = sizes[i] };

		assert_int_equal(upper_create(p->fd, "u", &bad, NULL), -EINVAL);
	}
	assert_int_equal(upper_create(p->fd, "../u", &cfg, NULL), -EINVAL);
	assert_int_equal(upper_create(-1, "u", &cfg, NULL), -EBADF);
	assert_int_equal(symlinkat("nowhere", p->fd, "v"), 0);
	assert_int_equal(upper_create(p->fd, "v", &cfg, &err), -EEXIST);
	assert_string_equal(err.msg, "create 'v': File exists");
	assert_int_equal(faccessat(p->fd, "nowhere", F_OK, 0), -1);
}

#define place_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		place_test(test_every_size_checks_clean),
		place_test(test_contents),
		place_test(test_grows),
		place_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
