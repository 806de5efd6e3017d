/* SPDX-License-Identifier: Apache-2.0 */
/* Images made by qemu-img in every variant, and images that somebody has tampered with. */
#include "block/rig_test.h"

#include <pthread.h>

#include "lib/log.h"

#define SIZE (3 * 1024 * 1024 + 3 * 512)

/* Some text, some zeroes, some noise. */
static uint8_t *make_flat(struct rig *rig)
{
	uint8_t *flat = malloc(SIZE);
	uint64_t seed = 42;

	assert_non_null(flat);
	for (size_t i = 0; i < SIZE; i++)
		flat[i] = i / 40000 % 3 == 0 ? 0
					     : (uint8_t)(i / 40000 % 3 == 1 ? 'a' + i / 100 % 26
									    : rig_random(&seed));
	rig_save(rig, "flat", flat, SIZE);
	return flat;
}

static void expect_same(struct rig *rig, const char *name, bool read_only, const uint8_t *flat)
{
	struct block *b = NULL;
	struct err err = ERR_INIT;
	uint8_t *all;

	if (rig_open(rig, name, BLOCK_QCOW2, read_only, &b, &err) != 0)
		fail_msg("%s: %s", name, err.msg);
	assert_int_equal(b->size, SIZE);
	all = rig_slurp(b);
	if (memcmp(all, flat, SIZE) != 0)
		fail_msg("%s: wrong data", name);
	free(all);
	block_free(b);
}

static void test_variants(void **state)
{
	static const char *const convert[] = { "-o compat=0.10", "-o compat=0.10 -c",
		"-o compat=0.10,cluster_size=512", "-o compat=1.1", "-c",
		"-c -o compression_type=zstd", "-c -o cluster_size=2M,compression_type=zstd",
		"-c -o cluster_size=512", "-c -o cluster_size=2M", "-o cluster_size=512",
		"-o cluster_size=4k,refcount_bits=1", "-o cluster_size=2M,refcount_bits=64",
		"-o refcount_bits=2", "-o refcount_bits=8", "-o lazy_refcounts=on",
		"-o preallocation=metadata", "-o preallocation=falloc", "-o preallocation=full",
		"-S 0", "-S 4k" };
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig);

	for (size_t i = 0; i < ARRAY_LEN(convert); i++) {
		rig_run(rig, "qemu-img convert -f raw -O qcow2 %s flat d", convert[i]);
		expect_same(rig, "d", true, flat);
		expect_same(rig, "d", false, flat);
		rig_run(rig, "qemu-img check -q d && qemu-img compare -q -f raw -F qcow2 flat d");
	}
	free(flat);
}

/* Zero clusters, kept and plain; discarded ones; shared with a snapshot; over two backing files. */
static void test_layers(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig);

	rig_run(rig, "qemu-img create -q -f qcow2 -F raw -b flat mid");
	rig_run(rig,
		"qemu-io -c 'write -P 7 100k 300k' -c 'write -z 1M 256k' -c 'write -zu 2M 256k' "
		"-c 'discard 192k 64k' -c 'write -z 128k 64k' mid >/dev/null");
	rig_run(rig, "qemu-img create -q -f qcow2 -o cluster_size=4k -F qcow2 -b mid d");
	rig_run(rig, "qemu-io -c 'write -P 9 1100k 5k' -c 'discard 2M 1M' d >/dev/null");
	rig_run(rig, "qemu-img snapshot -c one d && qemu-io -c 'write -P 3 1100k 1k' d >/dev/null");
	rig_run(rig, "qemu-img convert -f qcow2 -O raw d flat2");
	free(flat);
	size_t len;

	flat = rig_file(rig, "flat2", &len);
	assert_int_equal(len, SIZE);
	expect_same(rig, "d", true, flat);
	expect_same(rig, "d", false, flat);
	rig_run(rig, "qemu-img check -q d");
	free(flat);
}

static int try_open(struct rig *rig, const char *name, bool read_only, struct err *err)
{
	struct block *b = NULL;
	int r = rig_open(rig, name, BLOCK_QCOW2, read_only, &b, err);

	block_free(b);
	return r;
}

static void expect_refusal(struct rig *rig, bool read_only, int code, const char *words)
{
	struct err err = ERR_INIT;
	int r = try_open(rig, "d", read_only, &err);

	if (r != code || !strstr(err.msg, words))
		fail_msg("expected %d '%s', got %d '%s'", code, words, r, err.msg);
}

static void test_unsupported(void **state)
{
	struct rig *rig = *state;

	rig_run(rig, "qemu-img create -q -f qcow2 -o extended_l2=on d 1M");
	expect_refusal(rig, true, -ENOTSUP, "extended L2");
	rig_run(rig, "qemu-img create -q -f qcow2 -o data_file=ext d 1M");
	expect_refusal(rig, true, -ENOTSUP, "external data file");
	rig_run(rig, "qemu-img create -q -f qcow2 --object secret,id=s,data=abc -o "
		     "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 d 1M");
	expect_refusal(rig, true, -ENOTSUP, "encrypted");
	rig_run(rig, "qemu-img create -q -f qcow2 d 1M && qemu-img bitmap --add d b0");
	expect_refusal(rig, false, -ENOTSUP, "dirty bitmaps");
	assert_int_equal(try_open(rig, "d", true, NULL), 0);
}

/* Big-endian values in the header, and what they lead to. */
static void test_header(void **state)
{
	static const struct {
		unsigned off, len;
		uint64_t value;
		int code;
		const char *words;
	} cases[] = {
		{ 0, 4, 0x514649fc, -EINVAL, "not a qcow2 image" },
		{ 4, 4, 1, -ENOTSUP, "version 1" },
		{ 4, 4, 4, -ENOTSUP, "version 4" },
		{ 8, 8, 1, -EINVAL, "backing file's name" },
		{ 8, 8, UINT64_MAX, -EINVAL, "backing file's name" },
		{ 8, 8, 65535, -EINVAL, "backing file's name" },
		{ 20, 4, 8, -EINVAL, "cluster size" },
		{ 20, 4, 22, -EINVAL, "cluster size" },
		{ 20, 4, UINT32_MAX, -EINVAL, "cluster size" },
		{ 24, 8, UINT64_MAX, -EINVAL, "disk size" },
		{ 24, 8, 1ULL << 62, -EINVAL, "disk size" },
		{ 24, 8, 1ULL << 40, -EINVAL, "size of the L1 table" },
		{ 32, 4, 1, -ENOTSUP, "encrypted" },
		{ 36, 4, 0, -EINVAL, "size of the L1 table" },
		{ 36, 4, UINT32_MAX, -EINVAL, "size of the L1 table" },
		{ 36, 4, 4194304, -EINVAL, "place of the L1 table" },
		{ 40, 8, 0, -EINVAL, "place of the L1 table" },
		{ 40, 8, 65537, -EINVAL, "place of the L1 table" },
		{ 40, 8, 1ULL << 40, -EINVAL, "place of the L1 table" },
		{ 40, 8, UINT64_MAX - 65535, -EINVAL, "place of the L1 table" },
		{ 48, 8, 0, -EINVAL, "place of the refcount table" },
		{ 48, 8, 1ULL << 62, -EINVAL, "place of the refcount table" },
		{ 56, 4, 0, -EINVAL, "size of the refcount table" },
		{ 56, 4, UINT32_MAX, -EINVAL, "size of the refcount table" },
		{ 56, 4, 128, -EINVAL, "place of the refcount table" },
		{ 60, 4, 1, -EINVAL, "snapshot table" },
		{ 60, 4, UINT32_MAX, -EINVAL, "snapshot table" },
		{ 72, 8, 1ULL << 63, -ENOTSUP, "unknown feature: bit 63 (no name given)" },
		{ 72, 8, 2, -EINVAL, "marked as damaged" },
		{ 72, 8, 4, -ENOTSUP, "external data file" },
		{ 72, 8, 8, -EINVAL, "compression type" },
		{ 72, 8, 16, -ENOTSUP, "extended L2" },
		{ 96, 4, 7, -EINVAL, "refcount width" },
		{ 96, 4, UINT32_MAX, -EINVAL, "refcount width" },
		{ 100, 4, 103, -EINVAL, "header length" },
		{ 100, 4, 96, -EINVAL, "header length" },
		{ 100, 4, UINT32_MAX, -EINVAL, "header length" },
		{ 104, 1, 1, -EINVAL, "compression type" },
		{ 104, 1, 9, -ENOTSUP, "compression type 9" },
		{ 112, 8, 0x6803f857ffffffff, -EINVAL, "header extension" },
		{ 112, 8, 0xe2792acaffffffff, -EINVAL, "header extension" },
		{ 112, 8, 0xe2792aca00000020, -EINVAL, "format of the backing file" },
	};
	struct rig *rig = *state;
	uint8_t raw[8], *good;
	size_t len;

	rig_run(rig, "qemu-img create -q -f qcow2 d 64M");
	good = rig_file(rig, "d", &len);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t *bad = malloc(len);

		memcpy(bad, good, len);
		store_be64(raw, cases[i].value << (64 - 8 * cases[i].len));
		memcpy(bad + cases[i].off, raw, cases[i].len);
		rig_save(rig, "d", bad, len);
		expect_refusal(rig, false, cases[i].code, cases[i].words);
		free(bad);
	}
	memcpy(good + 104 + 8 + 8,
		"\0\x3f"
		"a feature of tomorrow\0",
		24);
	store_be64(good + 72, 1ULL << 63);
	rig_save(rig, "d", good, len);
	expect_refusal(rig, true, -ENOTSUP, "a feature of tomorrow");
	free(good);
}

/* Opens, reads all, writes a little: anything may fail, nothing may break. */
static void abuse(struct rig *rig, const char *name, bool read_only, uint64_t seed)
{
	struct block *b = NULL;
	uint8_t data[8192];

	if (rig_open(rig, name, BLOCK_QCOW2, read_only, &b, NULL) < 0)
		return;
	for (uint64_t at = 0; at < MIN_OF(b->size, (uint64_t)SIZE); at += sizeof(data))
		(void)rig_read(b, data, MIN_OF(sizeof(data), b->size - at), at);
	for (unsigned i = 0; i < 20 && b->size > sizeof(data); i++) {
		uint64_t off = rig_random(&seed) % (b->size - sizeof(data));

		(void)rig_write(b, data, sizeof(data), off);
		(void)block_discard(b, off, b->size - off);
		(void)block_write_zeroes(b, off, MIN_OF(b->size - off, 100000U), i & 1);
	}
	(void)block_flush(b);
	block_free(b);
}

static void test_truncated(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), *d;
	size_t len;

	rig_run(rig, "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k flat d");
	d = rig_file(rig, "d", &len);
	for (size_t cut = 0; cut < len; cut += cut < 1024 ? 37 : 40961) {
		rig_save(rig, "d", d, cut);
		abuse(rig, "d", true, cut + 1);
		abuse(rig, "d", false, cut + 1);
	}
	/* what is there is still read, what is not is an error and no zeroes */
	rig_save(rig, "d", d, len - len / 3);
	struct block *b = NULL;

	if (rig_open(rig, "d", BLOCK_QCOW2, true, &b, NULL) == 0) {
		assert_int_equal(rig_read(b, d, 4096, 3090000), -EIO);
		block_free(b);
	}
	free(d);
	free(flat);
}

/* Bytes of the tables, which are at the front of a file that qemu-img makes. */
static void test_corrupted(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), *d;
	uint64_t seed = 4711;
	size_t len;

	rig_run(rig, "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k flat d");
	rig_run(rig, "qemu-img snapshot -c one d");
	d = rig_file(rig, "d", &len);
	for (unsigned i = 0; i < 150; i++) {
		uint8_t *bad = malloc(len);

		memcpy(bad, d, len);
		for (unsigned k = 0; k < 1 + i % 8; k++) {
			uint64_t at = rig_random(&seed) % (i % 3 ? 120 : MIN_OF(len, 65536));

			bad[at] ^= (uint8_t)(1 << rig_random(&seed) % 8);
		}
		rig_save(rig, "d", bad, len);
		abuse(rig, "d", i & 1, i + 1);
		free(bad);
	}
	free(d);
	free(flat);
}

static uint64_t entry_of(const uint8_t *d, uint64_t table, unsigned i)
{
	return load_be64(d + table + 8 * i) & 0x00fffffffffffe00;
}

/* An L2 table that leads the guest to the image's own tables. */
static void test_mapping_into_tables(void **state)
{
	struct rig *rig = *state;
	uint8_t *d, data[512] = { 1, 2, 3 };
	size_t len, now_len;

	rig_run(rig, "qemu-img create -q -f qcow2 d 64M && qemu-io -c 'write 0 64k' d >/dev/null");
	d = rig_file(rig, "d", &len);
	uint64_t l1 = load_be64(d + 40), l2 = entry_of(d, l1, 0), reftable = load_be64(d + 48);
	uint64_t targets[] = { 0x10000 * 0ULL, l1, l2, reftable, entry_of(d, reftable, 0) };

	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		struct block *b = NULL;
		uint8_t *now;

		/* offset 0 means unallocated: the header is reached by a kept zero cluster only */
		store_be64(d + l2, targets[i] | 1ULL << 63 | (targets[i] ? 0 : 1));
		rig_save(rig, "d", d, len);
		assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, false, &b, NULL), 0);
		assert_int_equal(rig_write(b, data, sizeof(data), 0), targets[i] ? -EIO : 0);
		if (targets[i])
			assert_int_equal(rig_write(b, data, sizeof(data), 65536), -EIO);
		block_free(b);
		now = rig_file(rig, "d", &now_len);
		if (targets[i])
			expect_refusal(rig, false, -EINVAL, "marked as damaged");
		now[79] = d[79]; /* that mark */
		if (targets[i])
			assert_memory_equal(now, d, 5 * 65536);
		free(now);
	}
	free(d);
}

/* A refcount of 0 for a table that is in use must not make it a data cluster. */
static void test_free_tables(void **state)
{
	struct rig *rig = *state;
	struct block *b = NULL;
	uint8_t *d, data[512] = { 1 };
	size_t len;

	rig_run(rig, "qemu-img create -q -f qcow2 d 64M");
	d = rig_file(rig, "d", &len);
	memset(d + entry_of(d, load_be64(d + 48), 0), 0, 64);
	rig_save(rig, "d", d, len);
	assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, false, &b, NULL), 0);
	assert_int_equal(rig_write(b, data, sizeof(data), 0), -EIO);
	block_free(b);
	free(d);
}

static void set_dirty(struct rig *rig, uint8_t *d, size_t len)
{
	d[79] |= 1;
	rig_save(rig, "d", d, len);
}

static void test_not_closed(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), *d;
	uint64_t block;
	size_t len;

	rig_run(rig, "qemu-img convert -f raw -O qcow2 -c -o cluster_size=4k flat d");
	d = rig_file(rig, "d", &len);
	block = entry_of(d, load_be64(d + 48), 0);
	store_be16(d + block + 2 * 20, 9); /* too many */
	store_be16(d + block + 2 * 30, 0); /* too few */
	set_dirty(rig, d, len);
	assert_int_equal(rig_try(rig, "qemu-img check -q d"), 2);
	expect_same(rig, "d", true, flat);
	expect_same(rig, "d", false, flat);
	rig_run(rig, "qemu-img check -q d && qemu-img compare -q -f raw -F qcow2 flat d");
	rig_run(rig, "qemu-img snapshot -c one d");
	free(d);
	d = rig_file(rig, "d", &len);
	set_dirty(rig, d, len);
	expect_refusal(rig, false, -EINVAL, "has snapshots: run qemu-img check -r all");
	free(d);
	free(flat);
}

/* --- threads --- */

#define THREADS 4
#define REGION	(SIZE / THREADS / 512 * 512)

struct job {
	struct block *b;
	uint8_t *flat;
	uint64_t start, seed;
};

static void *work(void *arg)
{
	struct job *job = arg;
	uint8_t data[40000], back[40000];

	for (unsigned i = 0; i < 300; i++) {
		uint64_t len = 512 * (1 + rig_random(&job->seed) % 78);
		uint64_t off = 512 * (rig_random(&job->seed) % ((REGION - len) / 512 + 1));
		uint64_t at = job->start + off;
		unsigned what = rig_random(&job->seed) % 8;

		memset(data, (int)i, sizeof(data));
		if (what == 0) {
			assert_int_equal(block_write_zeroes(job->b, at, len, i & 1), 0);
			memset(job->flat + at, 0, len);
		} else if (what == 1) {
			assert_int_equal(block_flush(job->b), 0);
		} else if (what < 5) {
			assert_int_equal(rig_write(job->b, data, len, at), 0);
			memcpy(job->flat + at, data, len);
		} else {
			assert_int_equal(rig_read(job->b, back, len, at), 0);
			assert_memory_equal(back, job->flat + at, len);
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig);
	pthread_t thread[THREADS];
	struct job job[THREADS];
	struct block *b = NULL;

	rig_run(rig, "qemu-img convert -f raw -O qcow2 -c flat d");
	assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, false, &b, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		job[i] = (struct job){ b, flat, i * REGION, i + 1 };
		assert_int_equal(pthread_create(&thread[i], NULL, work, &job[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	block_free(b);
	rig_save(rig, "flat", flat, SIZE);
	rig_run(rig, "qemu-img check -q d && qemu-img compare -q -f raw -F qcow2 flat d");
	free(flat);
}

/* Discards give the host its space back, and writing again takes it from there. */
static void test_space(void **state)
{
	struct rig *rig = *state;
	static uint8_t data[1 << 20];
	struct block *b = NULL;
	struct stat full, empty;

	memset(data, 7, sizeof(data));
	rig_run(rig, "qemu-img create -q -f qcow2 d 64M");
	assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, false, &b, NULL), 0);
	assert_int_equal(b->unit, 65536);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 32; i++)
			assert_int_equal(rig_write(b, data, sizeof(data), MIB(i)), 0);
		assert_int_equal(block_flush(b), 0);
		assert_int_equal(fstatat(rig->fd, "d", &full, 0), 0);
		assert_true(full.st_blocks * 512 >= (int64_t)MIB(32));
		assert_true(full.st_size < (int64_t)MIB(34));
		assert_int_equal(block_discard(b, 0, MIB(64)), 0);
		assert_int_equal(block_flush(b), 0);
		assert_int_equal(fstatat(rig->fd, "d", &empty, 0), 0);
		assert_true(empty.st_blocks * 512 < (int64_t)MIB(2));
	}
	block_free(b);
	rig_run(rig, "qemu-img check -q d");
}

static void test_read_only(void **state)
{
	struct rig *rig = *state;
	uint8_t data[512] = { 0 };
	struct block *b = NULL;

	rig_run(rig, "qemu-img create -q -f qcow2 d 1M && cp d before");
	assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, true, &b, NULL), 0);
	assert_int_equal(rig_write(b, data, 512, 0), -EROFS);
	assert_int_equal(rig_read(b, data, 512, MIB(1)), -EINVAL);
	block_free(b);
	assert_int_equal(rig_open(rig, "d", BLOCK_QCOW2, false, &b, NULL), 0);
	block_free(b);
	rig_run(rig, "truncate -r d before && cmp d before");
}

int main(void)
{
	log_set_sink(NULL, NULL, LOG_OFF);
	const struct CMUnitTest tests[] = {
		rig_test(test_variants),
		rig_test(test_layers),
		rig_test(test_unsupported),
		rig_test(test_header),
		rig_test(test_truncated),
		rig_test(test_corrupted),
		rig_test(test_mapping_into_tables),
		rig_test(test_free_tables),
		rig_test(test_not_closed),
		rig_test(test_threads),
		rig_test(test_space),
		rig_test(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
