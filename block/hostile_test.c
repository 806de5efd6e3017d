/* SPDX-License-Identifier: Apache-2.0 */
/* Images that want more of the host than they may have: tables in wrong places, bombs, and raw
 * images in which a guest has written something else. The rest is in the tests of each format. */
#include "block/rig_test.h"

#include <zlib.h>
#include <zstd.h>

#include "lib/log.h"

#define BOMB (100U << 20) /* bytes that come out */

/* --- qcow2 --- */

static void put(struct rig *rig, uint64_t off, const void *data, size_t len)
{
	int fd = openat(rig->fd, "d", O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, data, len, (off_t)off), (ssize_t)len);
	close(fd);
}

static void put_be64(struct rig *rig, uint64_t off, uint64_t v)
{
	uint8_t raw[8];

	store_be64(raw, v);
	put(rig, off, raw, sizeof(raw));
}

static uint64_t field(struct rig *rig, uint64_t off)
{
	size_t len;
	uint8_t *d = rig_file(rig, "d", &len);
	uint64_t v = load_be64(d + off);

	free(d);
	return v;
}

static void expect_refusal(struct rig *rig, const char *words)
{
	struct block *b = NULL;
	struct err err = ERR_INIT;
	int r = rig_open(rig, "d", BLOCK_QCOW2, false, &b, &err);

	block_free(b);
	if (r != -EINVAL || !strstr(err.msg, words))
		fail_msg("expected '%s', got %d '%s'", words, r, err.msg);
}

/* The header, L1, the refcount table or its block in place of an L2 table or refcount block. */
static void test_tables_in_tables(void **state)
{
	struct rig *rig = *state;
	uint64_t l1, reftable, block;

	rig_run(rig, "qemu-img create -q -f qcow2 good 64M; "
		     "qemu-io -c 'write 0 64k' good >/dev/null; cp good d");
	l1 = field(rig, 40);
	reftable = field(rig, 48);
	block = field(rig, reftable);
	const struct {
		uint64_t where, what;
		const char *words;
	} cases[] = {
		{ l1, 1ULL << 63, "a table outside the file" },
		{ l1, 512 | 1ULL << 63, "a table outside the file" },
		{ l1, 0x00fffffffffffe00, "a table outside the file" },
		{ l1, block | 1ULL << 63, "two references to one table" },
		{ reftable, block | 512, "a table outside the file" },
		{ reftable, 1ULL << 55, "a table outside the file" },
		{ reftable + 8, block, "two references to one table" },
		{ 40, 0, "place of the L1 table" },
		{ 48, 0, "place of the refcount table" },
		{ 56, UINT64_C(0xffffffff) << 32, "size of the refcount table" },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		rig_run(rig, "cp good d");
		put_be64(rig, cases[i].where, cases[i].what);
		expect_refusal(rig, cases[i].words);
	}
}

/* The name of the backing file in the middle of an extension, or of the header. */
static void test_names_in_headers(void **state)
{
	struct rig *rig = *state;

	rig_run(rig, "truncate -s 1M base; qemu-img create -q -f qcow2 -F raw -b base d");
	put_be64(rig, 8, 100);
	expect_refusal(rig, "place of the backing file's name");
	put_be64(rig, 8, 65534);
	expect_refusal(rig, "place of the backing file's name");
	put_be64(rig, 8, 114); /* cuts off the extension that starts at 112 */
	expect_refusal(rig, "damaged");
}

/* Room behind the file for @len bytes; the first cluster of the disk is said to be there. */
static void attach(struct rig *rig, const uint8_t *data, size_t len)
{
	uint64_t l2 = field(rig, field(rig, 40)) & 0x00fffffffffffe00;
	uint64_t at = MIB(1), sectors = (len + 511) / 512 - 1;

	assert_true(sectors < 256);
	rig_run(rig, "truncate -s 2M d");
	put(rig, at, data, len);
	put_be64(rig, l2, 1ULL << 62 | sectors << 54 | at);
}

static int read_first(struct rig *rig, const char *name, enum block_format format)
{
	struct block *b = NULL;
	uint8_t data[4096];
	int r;

	assert_int_equal(rig_open(rig, name, format, true, &b, NULL), 0);
	r = rig_read(b, data, sizeof(data), 0);
	block_free(b);
	return r;
}

static uint8_t *deflate_bomb(int window_bits, size_t *ret_len)
{
	size_t cap = 256 * 1024;
	uint8_t *zeroes = calloc(1, BOMB), *out = malloc(cap);
	z_stream z = { .next_in = zeroes, .avail_in = BOMB, .next_out = out, .avail_out = cap };

	assert_true(zeroes && out);
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	*ret_len = cap - z.avail_out;
	(void)deflateEnd(&z);
	free(zeroes);
	return out;
}

/* Of what comes out, one cluster is looked at; one frame of zstd is a cluster or damaged. */
static void test_bombs(void **state)
{
	struct rig *rig = *state;
	uint8_t *bomb, *zeroes = calloc(1, BOMB);
	size_t len, cap = ZSTD_compressBound(BOMB);

	rig_run(rig, "qemu-img create -q -f qcow2 d 64M; qemu-io -c 'write 0 64k' d >/dev/null");
	bomb = deflate_bomb(-12, &len);
	attach(rig, bomb, MIN_OF(len, 131072U));
	free(bomb);
	assert_int_equal(read_first(rig, "d", BLOCK_QCOW2), 0);

	rig_run(rig, "qemu-img create -q -f qcow2 -o compression_type=zstd d 64M; "
		     "qemu-io -c 'write 0 64k' d >/dev/null");
	bomb = malloc(cap);
	len = ZSTD_compress(bomb, cap, zeroes, BOMB, 1);
	assert_true(len < 131072);
	attach(rig, bomb, len);
	assert_int_equal(read_first(rig, "d", BLOCK_QCOW2), -EIO);
	free(bomb);
	free(zeroes);
}

static void test_vmdk_bomb(void **state)
{
	struct rig *rig = *state;
	size_t len, bomb_len;
	uint8_t *bomb = deflate_bomb(15, &bomb_len), *d;

	/* noise does not shrink: grains are as long as they get */
	rig_run(rig, "head -c 1M /dev/urandom >flat; "
		     "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized flat d");
	assert_int_equal(read_first(rig, "d", BLOCK_VMDK), 0);
	d = rig_file(rig, "d", &len);
	for (size_t at = 65536; at + 65548 < len; at += 512) {
		if (load_le64(d + at) == 0 && load_le32(d + at + 8) > 60000) {
			memcpy(d + at + 12, bomb, 60000); /* the grain of sector 0 */
			break;
		}
	}
	rig_save(rig, "d", d, len);
	assert_int_equal(read_first(rig, "d", BLOCK_VMDK), -EIO);
	free(bomb);
	free(d);
}

/* --- raw --- */

/* A guest writes a qcow2 image that builds on a file of the host into its raw disk: for us that
 * disk stays what its name says. */
static void test_raw_is_not_probed(void **state)
{
	static const char *const names[] = { "disk.raw", "disk.img" };
	struct rig *rig = *state;
	enum block_format format;
	uint8_t *d, *back;
	size_t len;

	rig_run(rig, "truncate -s 64k secret; qemu-img create -q -f qcow2 -F raw -b secret d; "
		     "truncate -s 1M disk.raw disk.img");
	d = rig_file(rig, "d", &len);
	back = malloc(len);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct block *b = NULL;

		assert_int_equal(block_format_of_path(names[i], &format, NULL), 0);
		assert_int_equal(rig_open(rig, names[i], format, false, &b, NULL), 0);
		assert_int_equal(rig_write(b, d, len, 0), 0);
		block_free(b);
		assert_int_equal(block_format_of_path(names[i], &format, NULL), 0);
		assert_int_equal(format, BLOCK_RAW);
		assert_int_equal(rig_open(rig, names[i], format, false, &b, NULL), 0);
		assert_int_equal(b->size, MIB(1));
		assert_int_equal(rig_read(b, back, len, 0), 0);
		assert_memory_equal(back, d, len);
		block_free(b);
	}
	assert_int_equal(block_format_of_path("disk", &format, NULL), -EINVAL);
	free(back);
	free(d);
}

int main(void)
{
	log_set_sink(NULL, NULL, LOG_OFF);
	const struct CMUnitTest tests[] = {
		rig_test(test_tables_in_tables),
		rig_test(test_names_in_headers),
		rig_test(test_bombs),
		rig_test(test_vmdk_bomb),
		rig_test(test_raw_is_not_probed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
