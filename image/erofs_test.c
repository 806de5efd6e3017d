/* SPDX-License-Identifier: Apache-2.0 */
/* Reading back what was written, and what was damaged since. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

#include "image/erofs.h"
#include "image/merge.h"
#include "image/tar_make_test.h"
#include "lib/cleanup.h"

/* One of everything. */
static void make_tar(struct buf *b)
{
	size_t h;

	(void)tb_dir(b, "./");
	(void)tb_dir(b, "d/");
	(void)tb_file(b, "d/hello", "hello\n");
	(void)tb_header(b, "d/again", '1', "d/hello", 0);
	(void)tb_header(b, "l", '2', "d/hello", 0);
	(void)tb_header(b, "loop", '2', "loop", 0);
	(void)tb_header(b, "up", '2', "../../d", 0);
	h = tb_header(b, "dev", '3', NULL, 0);
	tb_patch(b, h, 329, "0000400", 8);
	tb_patch(b, h, 337, "0001234", 8);
	tb_pax(b, "SCHILY.xattr.user.k", "value");
	tb_pax(b, "SCHILY.xattr.security.x", "");
	(void)tb_file(b, "x", "xattrs");
	tb_pax(b, "GNU.sparse.map", "8192,4,20000,3");
	tb_pax(b, "GNU.sparse.size", "1000000");
	(void)tb_file(b, "sparse", "dataend");
	(void)tb_header(b, "note", '1', "d/hello", 0);
	(void)tb_file(b, "d/.wh.gone", "");
	tb_end(b);
}

static int make_image(struct layer_result *res)
{
	struct buf b = { 0 };
	struct err err = ERR_INIT;
	int fd = tb_out();

	make_tar(&b);
	if (tb_layer(buf_head(&b), b.len, 333, NULL, fd, res, &err) < 0)
		fail_msg("%s", err.msg);
	buf_release(&b);
	return fd;
}

static struct erofs *open_image(int fd)
{
	struct erofs *e = NULL;
	struct err err = ERR_INIT;

	if (erofs_open(fd, NULL, 0, &e, &err) < 0)
		fail_msg("%s", err.msg);
	return e;
}

static void test_lookup(void **state)
{
	struct layer_result res;
	cleanup_fd int fd = make_image(&res);
	cleanup_erofs struct erofs *e = open_image(fd);
	struct erofs_inode i, j;
	char text[16] = "";

	assert_int_equal(erofs_lookup(e, "/l", true, &i, NULL), 0);
	assert_int_equal(erofs_read(e, &i, 0, text, sizeof(text), NULL), 6);
	assert_string_equal(text, "hello\n");
	assert_int_equal(erofs_read(e, &i, 6, text, 1, NULL), 0);
	assert_int_equal(erofs_lookup(e, "up//again/", false, &j, NULL), 0);
	assert_int_equal(i.nid, j.nid);
	assert_int_equal(i.nlink, 3);
	assert_int_equal(erofs_lookup(e, "l", false, &i, NULL), 0);
	assert_true(S_ISLNK(i.mode));
	assert_int_equal(erofs_lookup(e, "loop", true, &i, NULL), -ELOOP);
	assert_int_equal(erofs_lookup(e, "loop", false, &i, NULL), 0);
	assert_int_equal(erofs_lookup(e, "x/y", true, &i, NULL), -ENOTDIR);
	assert_int_equal(erofs_lookup(e, "d/none", true, &i, NULL), -ENOENT);
	assert_int_equal(erofs_lookup(e, "", true, &i, NULL), 0);
	assert_int_equal(i.nid, erofs_root(e));
	assert_int_equal(erofs_lookup(e, "dev", true, &i, NULL), 0);
	assert_int_equal(i.rdev, makedev(0400, 01234));
	assert_int_equal(i.mtime, 1600000000);
}

static int see_xattr(void *ctx, const char *name, const void *value, size_t len, struct err *err)
{
	unsigned *seen = ctx;

	if (!strcmp(name, "user.k") && len == 5 && !memcmp(value, "value", 5))
		*seen |= 1;
	if (!strcmp(name, "security.x") && len == 0)
		*seen |= 2;
	return 0;
}

static int count_name(void *ctx, const char *name, uint64_t nid, struct err *err)
{
	unsigned *n = ctx;

	(*n)++;
	return strcmp(name, "stop") ? 0 : 7;
}

static void test_xattrs_and_lists(void **state)
{
	struct layer_result res;
	cleanup_fd int fd = make_image(&res);
	cleanup_erofs struct erofs *e = open_image(fd);
	struct erofs_inode i;
	unsigned seen = 0, names = 0;

	assert_int_equal(erofs_lookup(e, "x", false, &i, NULL), 0);
	assert_int_equal(erofs_xattrs(e, &i, see_xattr, &seen, NULL), 0);
	assert_int_equal(seen, 3);
	assert_int_equal(erofs_list(e, &i, count_name, &names, NULL), -ENOTDIR);
	assert_int_equal(erofs_lookup(e, "/", false, &i, NULL), 0);
	assert_int_equal(erofs_list(e, &i, count_name, &names, NULL), 0);
	assert_int_equal(names, 8);
}

static void test_sparse(void **state)
{
	struct layer_result res;
	cleanup_fd int fd = make_image(&res);
	cleanup_erofs struct erofs *e = open_image(fd);
	cleanup_free uint8_t *data = malloc(1000000);
	struct erofs_inode i;
	struct erofs_extent x;

	assert_int_equal(erofs_lookup(e, "sparse", false, &i, NULL), 0);
	assert_int_equal(i.size, 1000000);
	assert_int_equal(erofs_read(e, &i, 0, data, 1000000, NULL), 1000000);
	assert_memory_equal(data + 8192, "data\0", 5);
	assert_memory_equal(data + 20000, "end\0", 4);
	assert_int_equal(data[8191] | data[999999], 0);
	assert_int_equal(erofs_map(e, &i, 0, &x, NULL), 0);
	assert_true(x.hole);
	assert_int_equal(x.len, 8192);
	assert_int_equal(erofs_map(e, &i, 9000, &x, NULL), 0);
	assert_false(x.hole);
	assert_int_equal(erofs_map(e, &i, 1000000, &x, NULL), -EBADMSG);
	assert_true(res.erofs_size < 65536);
}

static void test_devices(void **state)
{
	struct layer_result res;
	struct merge_result mres;
	cleanup_fd int fd = make_image(&res), out = tb_out();
	cleanup_erofs struct erofs *e = NULL;
	struct erofs_inode i;
	char text[16] = "";

	assert_int_equal(merge_layers(&fd, 1, out, &mres, NULL), 0);
	e = open_image(out);
	assert_int_equal(erofs_devices(e), 1);
	assert_int_equal(erofs_lookup(e, "note", false, &i, NULL), 0);
	assert_int_equal(erofs_read(e, &i, 0, text, 15, NULL), -ENXIO);
	erofs_close(e);
	assert_int_equal(erofs_open(out, &fd, 2, &e, NULL), -EINVAL);
	e = NULL;
	assert_int_equal(erofs_open(out, &fd, 1, &e, NULL), 0);
	assert_int_equal(erofs_read(e, &i, 0, text, 15, NULL), 6);
	assert_string_equal(text, "hello\n");
	assert_int_equal(erofs_lookup(e, "d/gone", false, &i, NULL), -ENOENT);
	assert_int_equal(mres.total_size, mres.size + res.erofs_size);
	assert_int_equal(merge_layers(&fd, 0, out, &mres, NULL), -EINVAL);
}

/* A copy of @len bytes with the superblock's checksum switched off, so that damage gets further. */
static int copy_image(const uint8_t *data, size_t len)
{
	static const uint8_t off = 0;
	int fd = tb_out();

	assert_int_equal(pwrite(fd, data, len, 0), len);
	assert_int_equal(pwrite(fd, &off, 1, 1024 + 8), 1);
	return fd;
}

/* Merged or refused, but not read beyond its end: the sanitizers watch. */
static void try_image(int fd, const struct merge_result *good, bool try_flat)
{
	cleanup_fd int out = tb_out(), flat = tb_out();
	struct merge_result res;
	struct err err = ERR_INIT;
	int r = merge_layers(&fd, 1, out, &res, &err);

	assert_true(r == 0 || err.msg[0]);
	if (r == 0 && try_flat && merge_flat(&fd, 1, flat, &res, &err) == 0)
		assert_true(res.file_bytes < 64 * good->size);
}

static void test_damage(void **state)
{
	struct layer_result res;
	struct merge_result good;
	cleanup_fd int fd = make_image(&res), out = tb_out();
	cleanup_free uint8_t *data = malloc(res.erofs_size);
	uint64_t seed = 1;

	assert_int_equal(pread(fd, data, res.erofs_size, 0), res.erofs_size);
	assert_int_equal(merge_flat(&fd, 1, out, &good, NULL), 0);
	for (unsigned i = 0; i < 600; i++) {
		size_t meta = res.erofs_size - EROFS_BLOCK, pos;
		uint8_t was;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		pos = i % 8 ? meta + (seed >> 33) % 2048 : 1024 + (seed >> 33) % 128;
		was = data[pos];
		data[pos] = i % 3 ? (uint8_t)(seed >> 20) : (uint8_t)(was ^ 1U << (seed >> 61));
		cleanup_fd int bad = copy_image(data, res.erofs_size);

		try_image(bad, &good, i % 8 == 0);
		data[pos] = was;
	}
}

static void test_cut_off(void **state)
{
	struct layer_result res;
	struct merge_result mres;
	cleanup_fd int fd = make_image(&res);
	struct err err;

	for (off_t size = (off_t)res.erofs_size - 1; size >= 0; size -= 1000) {
		cleanup_fd int out = tb_out();

		assert_int_equal(ftruncate(fd, size), 0);
		assert_int_equal(merge_layers(&fd, 1, out, &mres, &err), -EBADMSG);
	}
}

static void test_checksum(void **state)
{
	struct layer_result res;
	cleanup_fd int fd = make_image(&res);
	struct erofs *e;
	struct err err = ERR_INIT;

	assert_int_equal(pwrite(fd, "\x07", 1, 1024 + 0x10), 1);
	assert_int_equal(erofs_open(fd, NULL, 0, &e, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "checksum"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookup),
		cmocka_unit_test(test_xattrs_and_lists),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_checksum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
