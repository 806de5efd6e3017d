/* SPDX-License-Identifier: Apache-2.0 */
/* Which files an image may build on, and what it sees of them. */
#include "block/rig_test.h"

#include <sys/file.h>

#include "block/backing.h"
#include "lib/log.h"

#define SIZE (1024 * 1024)

static struct block_config config_of(struct rig *rig, const char *name, bool read_only)
{
	struct block_config cfg = { .format = BLOCK_QCOW2,
		.dir_fd = rig->fd,
		.dir_path = rig->dir,
		.read_only = read_only,
		.backing = true };

	cfg.fd = openat(rig->fd, name, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	assert_true(cfg.fd >= 0);
	return cfg;
}

static void expect_refusal(struct rig *rig, bool read_only, int code, const char *words)
{
	struct block_config cfg = config_of(rig, "d", read_only);
	struct block *b = NULL;
	struct err err = ERR_INIT;
	int r = block_open(&cfg, &b, &err);

	close(cfg.fd);
	block_free(b);
	if (r != code || !strstr(err.msg, words) || strchr(err.msg, '\n'))
		fail_msg("expected %d '%s', got %d '%s'", code, words, r, err.msg);
}

/* The first byte of the disk @name of the folder. */
static int first_byte(struct rig *rig, const char *name, const char *path)
{
	struct block_config cfg = config_of(rig, name, true);
	struct block *b = NULL;
	struct err err = ERR_INIT;
	uint8_t byte;

	cfg.path = path;
	if (block_open(&cfg, &b, &err) != 0)
		fail_msg("%s: %s", name, err.msg);
	assert_int_equal(rig_read(b, &byte, 1, 0), 0);
	block_free(b);
	close(cfg.fd);
	return byte;
}

static void make_base(struct rig *rig)
{
	rig_run(rig,
		"head -c %d /dev/zero | tr '\\0' B > base && "
		"qemu-img create -q -f qcow2 -F raw -b base d",
		SIZE);
}

static void test_permission(void **state)
{
	struct rig *rig = *state;
	struct block_config cfg;
	struct block *b = NULL;
	struct err err = ERR_INIT;

	make_base(rig);
	assert_int_equal(first_byte(rig, "d", NULL), 'B');
	cfg = config_of(rig, "d", true);
	cfg.backing = false;
	assert_int_equal(block_open(&cfg, &b, &err), -EACCES);
	assert_string_equal(err.msg, "the qcow2 image builds on the file 'base': allow that with "
				     "backing=on if you trust the image");
	cfg.backing = true;
	cfg.dir_fd = -1;
	assert_int_equal(block_open(&cfg, &b, NULL), -EACCES);
	close(cfg.fd);
}

static void test_places(void **state)
{
	static const struct {
		const char *prepare, *name;
		int code;
		const char *words;
	} cases[] = {
		{ "true", "/etc/passwd", -EACCES, "not in the folder that is allowed" },
		{ "true", "../base", -EACCES, "not in the folder that is allowed" },
		{ "mkdir s", "s/../../base", -EACCES, "not in the folder that is allowed" },
		{ "ln -s /etc/passwd link", "link", -ELOOP, "link" },
		{ "ln -s /etc up", "up/passwd", -ENOENT, "up/passwd" },
		{ "mkfifo fifo", "fifo", -EINVAL, "no regular file" },
		{ "true", "s", -EINVAL, "no regular file" },
		{ "true", "missing", -ENOENT, "missing" },
		{ "true", "nbd://127.0.0.1/x", -ENOTSUP, "no file" },
		{ "true", "json:{}", -ENOTSUP, "no file" },
	};
	struct rig *rig = *state;

	make_base(rig);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rig_run(rig, "%s && qemu-img rebase -u -F raw -b '%s' d", cases[i].prepare,
			cases[i].name);
		expect_refusal(rig, i % 2, cases[i].code, cases[i].words);
	}
}

static void test_formats(void **state)
{
	struct rig *rig = *state;
	size_t len;
	uint8_t *d;

	make_base(rig);
	rig_run(rig, "qemu-img rebase -u -F vpc -b base d");
	expect_refusal(rig, true, -ENOTSUP, "raw or qcow2");
	rig_run(rig, "qemu-img rebase -u -F vmdk -b base d");
	expect_refusal(rig, true, -ENOTSUP, "raw or qcow2");
	/* qcow2 in all but name: its bytes are the disk, they are not looked at */
	rig_run(rig, "qemu-img create -q -f qcow2 -F raw -b base inner");
	rig_run(rig, "qemu-img create -q -f qcow2 -F raw -b inner d");
	assert_int_equal(first_byte(rig, "d", NULL), 'Q');
	rig_run(rig, "qemu-img rebase -u -F qcow2 -b base d");
	expect_refusal(rig, false, -EINVAL, "not a qcow2 image");
	d = rig_file(rig, "d", &len);
	for (size_t i = 104; i < 4096; i += 8) { /* the extension that says it */
		if (load_be32(d + i) == 0xe2792aca)
			store_be32(d + i, 0x12345678);
	}
	rig_save(rig, "d", d, len);
	expect_refusal(rig, true, -EINVAL, "does not say the format");
	free(d);
}

static void test_chains(void **state)
{
	struct rig *rig = *state;

	make_base(rig);
	rig_run(rig, "qemu-img rebase -u -F qcow2 -b d d");
	expect_refusal(rig, true, -EINVAL, "more than 16 backing files");
	rig_run(rig, "cp base c0; for i in $(seq 16); do qemu-img create -q -f qcow2 -b c$((i-1)) "
		     "-F $([ $i = 1 ] && echo raw || echo qcow2) c$i; done");
	assert_int_equal(first_byte(rig, "c16", NULL), 'B');
	rig_run(rig, "qemu-img create -q -f qcow2 -F qcow2 -b c16 d");
	expect_refusal(rig, true, -EINVAL, "more than 16 backing files");
}

/* Relative names count from the folder of the image that has them, absolute ones from the root. */
static void test_folders(void **state)
{
	struct rig *rig = *state;
	char path[128];

	rig_run(rig, "mkdir -p a/b && head -c %d /dev/zero | tr '\\0' C > a/base", SIZE);
	rig_run(rig, "cd a/b && qemu-img create -q -f qcow2 -F raw -b ../base mid");
	rig_run(rig, "qemu-img create -q -f qcow2 -F qcow2 -b ./a//b/mid d");
	assert_int_equal(first_byte(rig, "d", NULL), 'C');
	rig_run(rig, "qemu-img create -q -f qcow2 -F qcow2 -b %s/a/b/mid d", rig->dir);
	assert_int_equal(first_byte(rig, "d", NULL), 'C');
	(void)snprintf(path, sizeof(path), "%s/a/b/mid", rig->dir);
	assert_int_equal(first_byte(rig, "a/b/mid", path), 'C');
}

static void test_names(void **state)
{
	static const struct {
		const char *folder, *name, *path;
	} good[] = {
		{ "", "x", "x" },
		{ "a/", "x", "a/x" },
		{ "a/b/", "../x", "a/x" },
		{ "a/b/", "../../x", "x" },
		{ "a/", "././/c/../x", "a/x" },
		{ "a/", "/top/x", "x" },
		{ "", "/top//s/x", "s/x" },
		{ "", "..x/...", "..x/..." },
	};
	static const char *const bad[] = { "..", "a/../..", "/top", "/toppy/x", "/", "/top/../x" };
	struct block_config cfg = { .dir_path = "/top" };
	char path[BACKING_PATH_MAX], name[BACKING_PATH_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(
			backing_resolve(&cfg, good[i].folder, good[i].name, path, NULL), 0);
		assert_string_equal(path, good[i].path);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(backing_resolve(&cfg, "", bad[i], path, NULL), -EACCES);
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(backing_resolve(&cfg, "", name, path, NULL), -ENAMETOOLONG);
	cfg.dir_path = "/";
	assert_int_equal(backing_resolve(&cfg, "", "/a/x", path, NULL), 0);
	assert_string_equal(path, "a/x");
}

/* A file that somebody builds on is not written meanwhile, and the reverse. */
static void test_locks(void **state)
{
	struct rig *rig = *state;
	struct block_config cfg;
	struct block *b = NULL;
	int other;

	make_base(rig);
	other = openat(rig->fd, "base", O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	expect_refusal(rig, true, -EBUSY, "in use");
	assert_int_equal(flock(other, LOCK_UN), 0);
	cfg = config_of(rig, "d", false);
	assert_int_equal(block_open(&cfg, &b, NULL), 0);
	close(cfg.fd);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0);
	block_free(b);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	close(other);
}

int main(void)
{
	log_set_sink(NULL, NULL, LOG_OFF);
	const struct CMUnitTest tests[] = {
		rig_test(test_permission),
		rig_test(test_places),
		rig_test(test_formats),
		rig_test(test_chains),
		rig_test(test_folders),
		cmocka_unit_test(test_names),
		rig_test(test_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
