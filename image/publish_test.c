/* SPDX-License-Identifier: Apache-2.0 */
/* Images in a cache whose files others change: a merged image only ever shows its own layers. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "image/erofs.h"
#include "image/erofs_disk.h"
#include "image/image_internal.h"
#include "image/tar_make_test.h"
#include "lib/cleanup.h"
#include "store/test_util.h"

#define HEX	 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MANIFEST "sha256:" HEX
#define DIFF	 "sha256:aaaa456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define OTHER	 "sha256:bbbb456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define NAME	 "localhost/x:1"
#define FSMETA	 "fsmeta/sha256_" HEX ".erofs"
#define VMDK	 "vmdk/sha256_" HEX ".vmdk"
#define LAYER	 "layers/sha256_aaaa456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.erofs"

static struct cache *open_cache(const struct scratch *s)
{
	struct cache *c = NULL;

	assert_int_equal(cache_open(s->path, true, &c, NULL), 0);
	return c;
}

/* --- layers: the same two files, in one order or the other */

enum order { A_FIRST, B_FIRST };

static int make_layer(struct cache *c, const char *diff_id, enum order order)
{
	cleanup_cache_file struct cache_file f = CACHE_FILE_INIT;
	const char *names[] = { "a", "b" }, *texts[] = { "text of a", "text of b" };
	cleanup_buf struct buf tar = { 0 };
	struct layer_result res;
	int fd = -1;

	for (unsigned i = 0; i < 2; i++)
		(void)tb_file(&tar, names[i ^ order], texts[i ^ order]);
	tb_end(&tar);
	assert_int_equal(cache_artifact_create(c, CACHE_LAYER, diff_id, &f, NULL), 0);
	assert_int_equal(tb_layer(buf_head(&tar), tar.len, tar.len, NULL, f.fd, &res, NULL), 0);
	assert_int_equal(cache_file_publish(&f, &fd, NULL), 0);
	return fd;
}

/* Another release would not know that what was merged of the old file is of no use. */
static int make_layer_of_others(
	const struct scratch *s, struct cache *c, const char *diff_id, enum order order)
{
	int fd;

	assert_int_equal(linkat(s->fd, FSMETA, s->fd, "kept", 0), 0);
	fd = make_layer(c, diff_id, order);
	assert_int_equal(renameat(s->fd, "kept", s->fd, FSMETA), 0);
	return fd;
}

static void publish(struct cache *c, const int *fds, size_t n)
{
	static const char json[] =
		"{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":"
		"\"layers\",\"diff_ids\":[\"" DIFF "\",\"" OTHER "\"]}}";
	struct descriptor layers[2] = { { "tar", DIFF, 1 }, { "tar", OTHER, 1 } };
	cleanup_buf struct buf raw = { 0 };
	struct image_config config = { .env = NULL };
	struct image_parts parts = { NAME, MANIFEST, "manifest", MANIFEST, &raw, &raw, &config,
		layers, n, fds };
	cleanup_image struct image *img = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(buf_append(&raw, json, sizeof(json) - 1), 0);
	assert_int_equal(config_parse(json, sizeof(json) - 1, &config, NULL), 0);
	if (image_publish(c, &parts, false, NULL, NULL, NULL, &img, &err) < 0)
		fail_msg("%s", err.msg);
	config_release(&config);
}

/* The image of one layer. */
static void publish_one(struct cache *c, enum order order)
{
	cleanup_fd int fd = make_layer(c, DIFF, order);

	publish(c, &fd, 1);
}

/* --- looking */

static void read_merged(int merged, const int *layers, unsigned n, const char *name, char *ret)
{
	cleanup_erofs struct erofs *e = NULL;
	struct erofs_inode i;
	ssize_t len;

	assert_int_equal(erofs_open(merged, layers, n, &e, NULL), 0);
	assert_int_equal(erofs_lookup(e, name, false, &i, NULL), 0);
	len = erofs_read(e, &i, 0, ret, 31, NULL);
	assert_true(len >= 0);
	ret[len] = '\0';
}

static void assert_shows(const struct image *img)
{
	unsigned n = (unsigned)img->layer_count;
	int fds[2];
	char text[32];

	assert_in_range(n, 1, 2);
	for (unsigned i = 0; i < n; i++)
		fds[i] = img->layers[i].fd;
	read_merged(img->fsmeta_fd, fds, n, "a", text);
	assert_string_equal(text, "text of a");
	read_merged(img->fsmeta_fd, fds, n, "b", text);
	assert_string_equal(text, "text of b");
}

static void assert_opens(struct cache *c)
{
	cleanup_image struct image *img = NULL;
	struct err err = ERR_INIT;

	if (image_open(c, NAME, &img, &err) < 0)
		fail_msg("%s", err.msg);
	assert_shows(img);
}

/* It must be made again, and then can be opened. */
static void assert_mends(struct cache *c)
{
	cleanup_image struct image *img = NULL, *mended = NULL;
	struct err err = ERR_INIT;

	assert_int_equal(image_open(c, NAME, &img, &err), -ESTALE);
	assert_null(img);
	assert_int_equal(image_mend(c, NAME, &mended, NULL), 0);
	assert_true(mended->fsmeta_size > 0);
	assert_shows(mended);
	assert_opens(c);
}

/* --- what may happen */

/* Nothing but where the data lies tells the two files apart. */
static void a_layer_is_made_anew(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);
	cleanup_fd int old = -1, layer = -1;
	char text[32];

	publish_one(c, A_FIRST);
	assert_opens(c);
	old = openat(s->fd, FSMETA, O_RDONLY | O_CLOEXEC);
	layer = make_layer_of_others(s, c, DIFF, B_FIRST);
	/* This is what must never be seen: */
	read_merged(old, &layer, 1, "a", text);
	assert_string_equal(text, "text of b");
	put_file(s->fd, VMDK, "of the old files", 16);
	assert_mends(c);
	assert_false(exists(s->fd, VMDK));
}

static void the_same_layer_is_made_again(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);
	cleanup_fd int fd = -1;

	publish_one(c, A_FIRST);
	fd = make_layer(c, DIFF, A_FIRST);
	assert_opens(c);
}

static void a_pull_mends_too(void **state)
{
	cleanup_cache struct cache *c = open_cache(*state);

	publish_one(c, A_FIRST);
	publish_one(c, B_FIRST);
	assert_opens(c);
}

static void the_merged_image_is_lost(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);

	publish_one(c, A_FIRST);
	assert_int_equal(unlinkat(s->fd, FSMETA, 0), 0);
	assert_mends(c);
	put_file(s->fd, FSMETA, "damaged", 7);
	assert_mends(c);
}

static void a_layer_is_lost(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);
	cleanup_image struct image *img = NULL;

	publish_one(c, A_FIRST);
	assert_int_equal(unlinkat(s->fd, LAYER, 0), 0);
	assert_int_equal(image_open(c, NAME, &img, NULL), -ENOENT);
	assert_int_equal(image_mend(c, NAME, &img, NULL), -ENOENT);
}

static void a_layer_has_another_size(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);
	cleanup_image struct image *img = NULL;
	cleanup_fd int fd = -1;
	struct stat st;

	publish_one(c, A_FIRST);
	fd = openat(s->fd, LAYER, O_WRONLY | O_CLOEXEC);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(ftruncate(fd, st.st_size + 4096), 0);
	assert_int_equal(image_open(c, NAME, &img, NULL), -ENOENT);
}

/* What others would go on to use is gone. */
static void a_replaced_layer_takes_its_merged_image_along(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);

	publish_one(c, A_FIRST);
	close(make_layer(c, DIFF, A_FIRST));
	assert_true(exists(s->fd, FSMETA));
	close(make_layer(c, DIFF, B_FIRST));
	assert_false(exists(s->fd, FSMETA));
	assert_mends(c);
}

/* As upstream writes them: no UUID, and no tags in the merged image. */
static void patch(int dirfd, const char *name, size_t off, size_t len)
{
	cleanup_fd int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
	uint8_t block[EROFS_BLOCK - EROFS_SB_POS];
	uint32_t sum;

	assert_int_equal(pread(fd, block, sizeof(block), EROFS_SB_POS), sizeof(block));
	memset(block + off, 0, len);
	memset(block + offsetof(struct erofs_super_disk, checksum), 0, sizeof(sum));
	sum = erofs_crc32c(UINT32_MAX, block, sizeof(block));
	memcpy(block + offsetof(struct erofs_super_disk, checksum), &sum, sizeof(sum));
	assert_int_equal(pwrite(fd, block, sizeof(block), EROFS_SB_POS), sizeof(block));
}

static void files_of_upstream(void **state)
{
	const struct timespec times[2] = { { 0, UTIME_OMIT }, { 1700000000, 5 } };
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);

	publish_one(c, A_FIRST);
	patch(s->fd, FSMETA, sizeof(struct erofs_super_disk), 64);
	assert_mends(c);
	patch(s->fd, LAYER, offsetof(struct erofs_super_disk, uuid), 16);
	assert_mends(c);
	/* Nothing but the time of the file tells that it is another one. */
	assert_int_equal(utimensat(s->fd, LAYER, times, 0), 0);
	assert_mends(c);
}

static void layers_change_places(void **state)
{
	const struct scratch *s = *state;
	cleanup_cache struct cache *c = open_cache(s);
	int fds[2] = { make_layer(c, DIFF, A_FIRST), make_layer(c, OTHER, B_FIRST) };

	publish(c, fds, 2);
	assert_opens(c);
	close(fds[0]);
	close(fds[1]);
	close(make_layer_of_others(s, c, DIFF, B_FIRST));
	close(make_layer_of_others(s, c, OTHER, A_FIRST));
	assert_mends(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		scratch_test(a_layer_is_made_anew),
		scratch_test(the_same_layer_is_made_again),
		scratch_test(a_pull_mends_too),
		scratch_test(the_merged_image_is_lost),
		scratch_test(a_layer_is_lost),
		scratch_test(a_layer_has_another_size),
		scratch_test(a_replaced_layer_takes_its_merged_image_along),
		scratch_test(files_of_upstream),
		scratch_test(layers_change_places),
	};

	return cmocka_run_group_tests_name("image_publish", tests, NULL, NULL);
}
