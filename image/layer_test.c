/* SPDX-License-Identifier: Apache-2.0 */
/* Hostile layers: every one ends in one clear error, or in a tree that stays within its root. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <isa-l/igzip_lib.h>
#include <zstd.h>

#include "image/erofs.h"
#include "image/merge.h"
#include "image/tar_make_test.h"
#include "lib/cleanup.h"

/* The layer must fail with @code and words about it, however the bytes come. Frees @b. */
static void expect_limits(
	struct buf *b, int code, const char *words, const struct layer_options *options)
{
	static const size_t pieces[] = { 1U << 30, 512, 100 };

	for (unsigned i = 0; i < ARRAY_LEN(pieces); i++) {
		cleanup_fd int fd = tb_out();
		struct layer_result res;
		struct err err = ERR_INIT;
		int r = tb_layer(buf_head(b), b->len, pieces[i], options, fd, &res, &err);

		if (r != -code || !strstr(err.msg, words))
			print_error("got %d '%s', not '%s'\n", r, err.msg, words);
		assert_int_equal(r, -code);
		assert_non_null(strstr(err.msg, words));
	}
	buf_release(b);
}

static void expect(struct buf *b, int code, const char *words)
{
	expect_limits(b, code, words, NULL);
}

/* Unpack and open. Frees @b; the caller closes both. */
static struct erofs *image(struct buf *b, int *ret_fd)
{
	struct layer_result res;
	struct err err = ERR_INIT;
	struct erofs *e = NULL;

	*ret_fd = tb_out();
	if (tb_layer(buf_head(b), b->len, 1000, NULL, *ret_fd, &res, &err) < 0 ||
		erofs_open(*ret_fd, NULL, 0, &e, &err) < 0)
		fail_msg("%s", err.msg);
	buf_release(b);
	return e;
}

static void check_text(struct erofs *e, const char *path, const char *text)
{
	char got[256] = "";
	struct erofs_inode i;
	struct err err = ERR_INIT;

	if (erofs_lookup(e, path, true, &i, &err) < 0 || erofs_read(e, &i, 0, got, 255, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(got, text);
}

static void test_paths(void **state)
{
	char longest[4200], name[300];
	struct buf b = { 0 };

	(void)tb_file(&b, "a/../../etc/passwd", "x");
	expect(&b, EBADMSG, "'..'");
	(void)tb_header(&b, "a", '1', "../etc/passwd", 0);
	expect(&b, EBADMSG, "'..'");
	(void)tb_file(&b, "", "x");
	expect(&b, EBADMSG, "no name");
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	tb_pax(&b, "path", name);
	(void)tb_file(&b, "a", "x");
	expect(&b, ENAMETOOLONG, "255 bytes");
	for (unsigned i = 0; i < sizeof(longest); i++)
		longest[i] = i % 2 ? '/' : 'd';
	longest[4100] = '\0';
	tb_pax(&b, "path", longest);
	(void)tb_file(&b, "a", "x");
	expect(&b, E2BIG, "4096 are allowed");
	longest[299] = '\0';
	tb_pax(&b, "path", longest);
	(void)tb_file(&b, "a", "x");
	expect(&b, E2BIG, "too many directories");
	(void)tb_file(&b, "f", "x");
	(void)tb_file(&b, "f/below", "x");
	expect(&b, EBADMSG, "not a directory");
	(void)tb_file(&b, "./", "x");
	expect(&b, EBADMSG, "'./'");
}

static void test_links_stay_inside(void **state)
{
	struct buf b = { 0 };
	cleanup_fd int fd = -1;
	cleanup_erofs struct erofs *e = NULL;

	(void)tb_file(&b, "/absolute", "abs");
	(void)tb_header(&b, "out", '2', "../../../../outside", 0);
	(void)tb_file(&b, "out/f", "caught");
	(void)tb_header(&b, "up", '2', "/..", 0);
	(void)tb_file(&b, "up/g", "root");
	(void)tb_header(&b, "s", '2', "absolute", 0);
	(void)tb_header(&b, "h", '1', "/s", 0);
	(void)tb_file(&b, "twice", "one");
	(void)tb_file(&b, "twice", "two");
	tb_end(&b);
	e = image(&b, &fd);
	check_text(e, "absolute", "abs");
	check_text(e, "outside/f", "caught");
	check_text(e, "/g", "root");
	check_text(e, "h", "abs");
	check_text(e, "twice", "two");
}

static void test_links(void **state)
{
	struct buf b = { 0 };

	(void)tb_header(&b, "l", '2', "l", 0);
	(void)tb_file(&b, "l/f", "x");
	expect(&b, EBADMSG, "symbolic links");
	(void)tb_dir(&b, "d/");
	(void)tb_header(&b, "h", '1', "d", 0);
	expect(&b, EBADMSG, "hard link to a directory");
	(void)tb_header(&b, "h", '1', "/", 0);
	expect(&b, EBADMSG, "hard link to the root");
	(void)tb_header(&b, "h", '1', "", 0);
	expect(&b, EBADMSG, "no target");
	(void)tb_member(&b, "h", '1', "f", "data", 4);
	expect(&b, EBADMSG, "has data");
}

/* s1 -> d/d/..., s2 -> s1/d/d/...: each step is short, the sum is not. */
static void test_depth_by_links(void **state)
{
	struct buf b = { 0 };
	char target[300], name[16];

	for (unsigned i = 0; i < 30; i++) {
		(void)snprintf(name, sizeof(name), "s%u", i);
		if (i)
			(void)snprintf(target, sizeof(target), "s%u/", i - 1);
		else
			target[0] = '\0';
		while (strlen(target) < 90)
			strcat(target, "d/");
		(void)tb_header(&b, name, '2', target, 0);
		(void)snprintf(target, sizeof(target), "%s/f", name);
		(void)tb_file(&b, target, "x");
	}
	expect(&b, E2BIG, "nest deeper");
}

static void test_link_to_nothing_fails_at_merge(void **state)
{
	struct buf b = { 0 };
	cleanup_fd int fd = -1, out = tb_out();
	cleanup_erofs struct erofs *e = NULL;
	struct merge_result res;
	struct err err = ERR_INIT;

	(void)tb_header(&b, "h", '1', "gone", 0);
	tb_end(&b);
	e = image(&b, &fd);
	assert_int_equal(merge_layers(&fd, 1, out, &res, &err), -EBADMSG);
	assert_non_null(strstr(err.msg, "'h' leads to 'gone'"));
}

/* The folder goes, one of its files stays under another name: in which order that is said is free.
 */
static void test_link_into_a_folder_that_goes(void **state)
{
	struct buf b = { 0 };
	cleanup_fd int fd = -1;
	cleanup_erofs struct erofs *e = NULL;
	struct erofs_inode i;

	(void)tb_file(&b, ".wh.d", "");
	(void)tb_header(&b, "h", '1', "d/sub/f", 0);
	tb_end(&b);
	e = image(&b, &fd);
	assert_int_equal(erofs_lookup(e, "h", false, &i, NULL), 0);
}

static void test_whiteouts(void **state)
{
	struct buf b = { 0 };
	cleanup_fd int fd = -1;
	cleanup_erofs struct erofs *e = NULL;
	struct erofs_inode i;

	(void)tb_file(&b, "d/.wh..", "");
	expect(&b, EBADMSG, "whiteout of no name");
	(void)tb_file(&b, "d/.wh...", "");
	expect(&b, EBADMSG, "whiteout of no name");
	(void)tb_header(&b, "away", '2', "/etc", 0);
	(void)tb_file(&b, "away/.wh.passwd", "");
	(void)tb_file(&b, ".wh.", "plain");
	(void)tb_file(&b, ".wh..wh.plnk", "");
	/* As umoci writes it when a directory became a file: whiteouts of what was in it. */
	(void)tb_file(&b, "was-folder", "file");
	(void)tb_file(&b, "was-folder/.wh.gone", "");
	(void)tb_file(&b, "was-folder/sub/.wh..wh..opq", "");
	tb_end(&b);
	e = image(&b, &fd);
	check_text(e, "was-folder", "file");
	assert_int_equal(erofs_lookup(e, "etc/passwd", false, &i, NULL), 0);
	assert_true(S_ISCHR(i.mode) && i.rdev == 0);
	check_text(e, ".wh.", "plain");
	assert_int_equal(erofs_lookup(e, ".wh..wh.plnk", false, &i, NULL), -ENOENT);
}

static void test_headers(void **state)
{
	struct buf b = { 0 };
	size_t h = tb_file(&b, "f", "x");

	b.data[h + 1] ^= 1;
	expect(&b, EBADMSG, "checksum");
	h = tb_file(&b, "f", "x");
	tb_patch(&b, h, 124, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	expect(&b, EBADMSG, "negative size");
	h = tb_file(&b, "f", "x");
	tb_patch(&b, h, 124, "\x80\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12);
	expect(&b, EBADMSG, "size is not a valid number");
	h = tb_file(&b, "f", "x");
	tb_patch(&b, h, 108, "12x4567", 8);
	expect(&b, EBADMSG, "user id is not a valid number");
	(void)tb_member(&b, "f", 'M', NULL, "x", 1);
	expect(&b, EBADMSG, "unknown type");
	h = tb_header(&b, "dev", '3', NULL, 0);
	tb_patch(&b, h, 329, "7777777", 8);
	expect(&b, EBADMSG, "device number");
	(void)tb_file(&b, "f", "data that is cut off");
	b.len -= 500;
	expect(&b, EBADMSG, "middle of a member");
	(void)tb_file(&b, "f", "x");
	tb_zeros(&b, 512);
	(void)tb_file(&b, "hidden", "x");
	expect(&b, EBADMSG, "follows the end");
	tb_bytes(&b, "this is no archive at all", 25);
	tb_zeros(&b, 1000);
	expect(&b, EBADMSG, "not a tar archive");
}

static void test_pax(void **state)
{
	struct buf b = { 0 };

	tb_pax(&b, "size", "700");
	(void)tb_file(&b, "f", "four");
	expect(&b, EBADMSG, "two sizes, 4 and 700");
	tb_pax(&b, "size", "-1");
	(void)tb_file(&b, "f", "x");
	expect(&b, EBADMSG, "size is not a valid number");
	tb_pax(&b, "size", "99999999999999999999");
	(void)tb_file(&b, "f", "");
	expect(&b, EBADMSG, "size is not a valid number");
	tb_pax(&b, "size", "6000000000");
	(void)tb_file(&b, "f", "");
	expect(&b, E2BIG, "are allowed in one file");
	(void)tb_member(&b, "pax", 'x', NULL, "9999 path=f\n", 12);
	(void)tb_file(&b, "f", "x");
	expect(&b, EBADMSG, "PAX header is damaged");
	(void)tb_member(&b, "pax", 'x', NULL, "5 a=b\n", 6);
	(void)tb_file(&b, "f", "x");
	expect(&b, EBADMSG, "PAX header is damaged");
	(void)tb_member(&b, "pax", 'x', NULL, "12 path=a\0b\n", 12);
	(void)tb_file(&b, "f", "x");
	expect(&b, EBADMSG, "broken name");
	tb_pax(&b, "path", "f");
	tb_end(&b);
	expect(&b, EBADMSG, "followed by the end");
	tb_pax(&b, "LIBARCHIVE.xattr.user.x", "!!!");
	(void)tb_file(&b, "f", "x");
	expect(&b, EBADMSG, "LIBARCHIVE.xattr");
}

static void test_gnu_long_names(void **state)
{
	struct buf b = { 0 };

	(void)tb_header(&b, "././@LongLink", 'L', NULL, 3U << 20);
	expect(&b, E2BIG, "1048576 are allowed");
	(void)tb_member(&b, "././@LongLink", 'L', NULL, "\0\0", 2);
	expect(&b, EBADMSG, "long name is empty");
	(void)tb_member(&b, "././@LongLink", 'K', NULL, "x", 1);
	expect(&b, EBADMSG, "followed by the end");
}

/* An old GNU sparse header with one piece. */
static void gnu_sparse(
	struct buf *b, const char *off, const char *len, const char *real, size_t data)
{
	size_t h = tb_header(b, "s", 'S', NULL, data);

	tb_patch(b, h, 257, "ustar  ", 8);
	tb_patch(b, h, 386, off, 12);
	tb_patch(b, h, 398, len, 12);
	tb_patch(b, h, 483, real, 12);
	tb_zeros(b, ALIGN_UP(data, 512U));
}

static void pax_sparse(struct buf *b, const char *map, const char *size)
{
	tb_pax(b, "GNU.sparse.map", map);
	tb_pax(b, "GNU.sparse.size", size);
	(void)tb_file(b, "s", "data");
}

static void test_sparse(void **state)
{
	struct buf b = { 0 };
	char text[512] = "2\n100\n1\n50\n1\n";

	gnu_sparse(&b, "00000010000", "00000001000", "00000000100", 512);
	expect(&b, EBADMSG, "beyond the file's end");
	gnu_sparse(&b, "00000000000", "00000000010", "00000001000", 512);
	expect(&b, EBADMSG, "does not match");
	gnu_sparse(&b, "00000000000", "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
		"00000001000", 512);
	expect(&b, EBADMSG, "beyond the file's end");
	gnu_sparse(&b, "00000000000", "00000000000",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0", 0);
	expect(&b, EBADMSG, "negative size");
	pax_sparse(&b, "100,2,50,2", "1000");
	expect(&b, EBADMSG, "out of order");
	pax_sparse(&b, "0,3,2,1", "1000");
	expect(&b, EBADMSG, "out of order or overlaps");
	pax_sparse(&b, "0,4", "3");
	expect(&b, EBADMSG, "beyond the file's end");
	pax_sparse(&b, "0", "3");
	expect(&b, EBADMSG, "sparse map is not a valid number");
	tb_pax(&b, "GNU.sparse.offset", "1");
	(void)tb_file(&b, "s", "data");
	expect(&b, EBADMSG, "offset without a length");
	for (unsigned i = 0; i < 2; i++) {
		tb_pax(&b, "GNU.sparse.major", "1");
		tb_pax(&b, "GNU.sparse.realsize", "1000");
		(void)tb_member(&b, "s", '0', NULL, text, sizeof(text));
		expect(&b, EBADMSG, i ? "something else than numbers" : "out of order");
		memcpy(text, "1\nxyz", 5);
	}
	tb_pax(&b, "GNU.sparse.major", "1");
	tb_pax(&b, "GNU.sparse.realsize", "1000");
	(void)tb_member(&b, "s", '0', NULL, "9\n", 2);
	expect(&b, EBADMSG, "does not end");
}

static int layer_of(struct buf *b)
{
	struct layer_result res;
	int fd = tb_out();

	assert_int_equal(tb_layer(buf_head(b), b->len, 1U << 30, NULL, fd, &res, NULL), 0);
	buf_release(b);
	return fd;
}

/* Through a link of the lower layer the upper one replaces the folder it is about to add to. */
static void test_merge_replaces_itself(void **state)
{
	static const char *const ways[] = { "d/s/d", "d/s/.wh.d", "d/s/.wh..wh..opq", "d/e/u/d",
		"d/e/u/.wh.d" };

	for (unsigned i = 0; i < ARRAY_LEN(ways); i++) {
		struct buf lower = { 0 }, upper = { 0 };
		cleanup_fd int out = tb_out();
		struct merge_result res;
		int fd[2];

		(void)tb_header(&lower, "d", '5', NULL, 0);
		(void)tb_header(&lower, "d/s", '2', "..", 0);
		(void)tb_header(&lower, "d/e/f", '5', NULL, 0);
		(void)tb_header(&lower, "d/e/t", '2', "..", 0);
		(void)tb_header(&lower, "d/e/u", '2', "../..", 0);
		(void)tb_file(&upper, ways[i], "x");
		(void)tb_file(&upper, "d/a", "x");
		(void)tb_file(&upper, "d/e/z", "x");
		(void)tb_file(&upper, "d/e/t/z", "x");
		(void)tb_file(&upper, "d/e/x/y", "x");
		(void)tb_file(&upper, "d/z", "x");
		tb_end(&lower);
		tb_end(&upper);
		fd[0] = layer_of(&lower);
		fd[1] = layer_of(&upper);
		assert_int_equal(merge_layers(fd, 2, out, &res, NULL), 0);
		(void)close(fd[0]);
		(void)close(fd[1]);
	}
}

static int count_calls(void *ctx, struct err *err)
{
	unsigned *calls = ctx;

	++*calls;
	return 0;
}

static int refuse(void *ctx, struct err *err)
{
	return err_msg(err, ECANCELED, "not now");
}

/* Twenty members of some 4 KB of metadata each. */
static void add_metadata(struct buf *b)
{
	char value[4000];

	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	for (unsigned i = 0; i < 20; i++) {
		tb_pax(b, "SCHILY.xattr.user.x", value);
		(void)tb_file(b, "f", "");
	}
}

static void test_limits(void **state)
{
	struct layer_options o = { .limits = { .max_entries = 10 } };
	struct buf b = { 0 };
	char value[4000];

	for (unsigned i = 0; i < 11; i++)
		(void)tb_file(&b, "same", "");
	expect_limits(&b, E2BIG, "more than 10 members", &o);
	o.limits = (struct layer_limits){ .max_total_bytes = 10 };
	(void)tb_file(&b, "a", "123456");
	(void)tb_file(&b, "b", "123456");
	expect_limits(&b, E2BIG, "more than 10 bytes", &o);
	o.limits = (struct layer_limits){ .max_meta_bytes = 65536 };
	add_metadata(&b);
	expect_limits(&b, E2BIG, "of memory", &o);
	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	/* Many headers about one member, which is not there yet. */
	for (unsigned i = 0; i < 300; i++) {
		char key[40];

		(void)snprintf(key, sizeof(key), "SCHILY.xattr.user.%u", i);
		tb_pax(&b, key, value);
	}
	(void)tb_file(&b, "f", "");
	expect_limits(&b, E2BIG, "bytes of extended attributes", NULL);
	o.limits = (struct layer_limits){ .max_tar_bytes = 2000 };
	(void)tb_file(&b, "a", "1");
	tb_zeros(&b, 2000);
	expect_limits(&b, E2BIG, "more than 2000 bytes come out", &o);
}

/* The layer of add_metadata() works out. Return: how often it asked. */
static unsigned asked(uint64_t own_bytes)
{
	unsigned calls = 0;
	struct layer_options o = {
		.own_meta_bytes = own_bytes, .more_memory = count_calls, .ctx = &calls
	};
	cleanup_fd int fd = tb_out();
	struct layer_result res;
	struct buf b = { 0 };
	struct err err = ERR_INIT;

	add_metadata(&b);
	tb_end(&b);
	assert_int_equal(tb_layer(buf_head(&b), b.len, 1000, &o, fd, &res, &err), 0);
	buf_release(&b);
	return calls;
}

static void test_asks_for_memory(void **state)
{
	struct layer_options o = { .own_meta_bytes = 40000, .more_memory = refuse };
	struct buf b = { 0 };

	assert_int_equal(asked(40000), 1);
	assert_int_equal(asked(400000), 0);
	add_metadata(&b);
	expect_limits(&b, ECANCELED, "not now", &o);
}

/* @b compressed by @zstd or gzip, in its place. */
static void compress_buf(struct buf *b, bool zstd)
{
	struct isal_zstream s;
	size_t cap = b->len + 4096;
	cleanup_free uint8_t *dst = malloc(cap);
	size_t len;

	assert_non_null(dst);
	if (zstd) {
		len = ZSTD_compress(dst, cap, buf_head(b), b->len, 1);
	} else {
		isal_deflate_stateless_init(&s);
		s.gzip_flag = IGZIP_GZIP;
		s.next_in = b->data + b->off;
		s.avail_in = (uint32_t)b->len;
		s.next_out = dst;
		s.avail_out = (uint32_t)cap;
		assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
		len = s.total_out;
	}
	buf_release(b);
	tb_bytes(b, dst, len);
}

static void test_compression(void **state)
{
	struct layer_options o = { .limits = { .max_tar_bytes = MIB(32), .max_ratio = 100 } };

	for (unsigned zstd = 0; zstd < 2; zstd++) {
		struct buf b = { 0 };

		(void)tb_file(&b, "f", "x");
		tb_end(&b);
		compress_buf(&b, zstd);
		b.len -= 3;
		expect(&b, EBADMSG, "ends too early");
		(void)tb_file(&b, "f", "x");
		compress_buf(&b, zstd);
		tb_bytes(&b, "garbage behind", 14);
		expect(&b, EBADMSG, zstd ? "unzstd" : "not gzip");
		(void)tb_header(&b, "f", '0', NULL, MIB(16));
		tb_zeros(&b, MIB(16));
		compress_buf(&b, zstd);
		expect_limits(&b, E2BIG, "a bomb", &o);
	}
}

static void test_gzip_checksum(void **state)
{
	struct buf b = { 0 };

	(void)tb_file(&b, "f", "x");
	compress_buf(&b, false);
	b.data[b.off + b.len - 6] ^= 1;
	expect(&b, EBADMSG, "wrong checksum");
	(void)tb_file(&b, "f", "x");
	compress_buf(&b, false);
	b.data[b.off + 20] ^= 0x55;
	b.data[b.off + 21] ^= 0x55;
	expect(&b, EBADMSG, "gunzip");
}

/* The optional parts of a gzip header in whatever pieces they come. */
static void test_gzip_header_in_pieces(void **state)
{
	static const uint8_t optional[] = "\x04\x00"
					  "ab\0\0"
					  "name\0"
					  "comment";
	struct buf plain = { 0 }, b = { 0 };

	(void)tb_file(&plain, "f", "x");
	tb_end(&plain);
	compress_buf(&plain, false);
	tb_bytes(&b, buf_head(&plain), 10);
	b.data[b.off + 3] |= 0x04 | 0x08 | 0x10; /* FEXTRA, FNAME, FCOMMENT */
	tb_bytes(&b, optional, sizeof(optional));
	tb_bytes(&b, (const uint8_t *)buf_head(&plain) + 10, plain.len - 10);
	for (size_t piece = 1; piece <= 40; piece++) {
		cleanup_fd int fd = tb_out();
		struct layer_result res;
		struct err err = ERR_INIT;

		if (tb_layer(buf_head(&b), b.len, piece, NULL, fd, &res, &err) < 0)
			fail_msg("%zu bytes at a time: %s", piece, err.msg);
	}
	buf_release(&b);
	buf_release(&plain);
}

/* The file must be ours alone, and a failed layer stays failed. */
static void test_use(void **state)
{
	cleanup_fd int fd = tb_out();
	cleanup_layer struct layer *l = NULL;
	struct layer_result res;
	struct err err = ERR_INIT;

	assert_int_equal(layer_new(fd, NULL, &l, NULL), 0);
	assert_int_equal(layer_feed(l, "no archive", 10, &err), 0);
	assert_int_equal(layer_finish(l, &res, &err), -EBADMSG);
	assert_int_equal(layer_feed(l, "more", 4, &err), -EBADMSG);
	assert_int_equal(layer_finish(l, &res, &err), -EBADMSG);
	layer_free(l);
	l = NULL;
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(layer_new(fd, NULL, &l, &err), -EINVAL);
}

/* Two layers of one name: what belongs to us cannot be brought along. */
static int no_xattr(void *ctx, const char *name, const void *value, size_t len, struct err *err)
{
	fail_msg("%s", name);
	return 0;
}

static void test_reserved_xattrs(void **state)
{
	char long_name[300];
	struct buf b = { 0 };
	cleanup_fd int fd = -1;
	cleanup_erofs struct erofs *e = NULL;
	struct erofs_inode i;

	tb_pax(&b, "SCHILY.xattr.trusted.overlay.opaque", "y");
	tb_pax(&b, "SCHILY.xattr.trusted.overlay.redirect", "/etc");
	tb_pax(&b, "SCHILY.xattr.trusted.msb.link", "etc/shadow");
	/* 256 bytes: listed by the kernel, but it cannot be asked for. */
	(void)snprintf(long_name, sizeof(long_name), "SCHILY.xattr.user.%0251d", 0);
	tb_pax(&b, long_name, "v");
	(void)tb_dir(&b, "d/");
	tb_end(&b);
	e = image(&b, &fd);
	assert_int_equal(erofs_lookup(e, "d", false, &i, NULL), 0);
	assert_int_equal(erofs_xattrs(e, &i, no_xattr, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_links_stay_inside),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_depth_by_links),
		cmocka_unit_test(test_link_to_nothing_fails_at_merge),
		cmocka_unit_test(test_link_into_a_folder_that_goes),
		cmocka_unit_test(test_whiteouts),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_pax),
		cmocka_unit_test(test_gnu_long_names),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_merge_replaces_itself),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_asks_for_memory),
		cmocka_unit_test(test_compression),
		cmocka_unit_test(test_gzip_checksum),
		cmocka_unit_test(test_gzip_header_in_pieces),
		cmocka_unit_test(test_use),
		cmocka_unit_test(test_reserved_xattrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
