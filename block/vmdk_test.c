/* SPDX-License-Identifier: Apache-2.0 */
/* Images made by qemu-img in every variant that is supported, and hostile ones. */
#include "block/rig_test.h"

#include "block/vmdk.h"

#define SIZE (3 * 1024 * 1024)

static uint8_t *make_flat(struct rig *rig)
{
	uint8_t *flat = malloc(SIZE);
	uint64_t seed = 42;

	assert_non_null(flat);
	for (size_t i = 0; i < SIZE; i++)
		flat[i] = i / 70000 % 3 == 0 ? 0
					     : (uint8_t)(i / 70000 % 3 == 1 ? 'a' + i / 100 % 26
									    : rig_random(&seed));
	rig_save(rig, "flat", flat, SIZE);
	return flat;
}

static void test_variants(void **state)
{
	static const char *const formats[] = { "monolithicSparse", "monolithicFlat",
		"twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized" };
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), *all;

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct block *b = NULL;
		struct err err = ERR_INIT;

		rig_run(rig,
			"rm -f d*.vmdk; qemu-img convert -f raw -O vmdk -o subformat=%s flat "
			"d.vmdk",
			formats[i]);
		if (rig_open(rig, "d.vmdk", BLOCK_VMDK, i & 1, &b, &err) != 0)
			fail_msg("%s: %s", formats[i], err.msg);
		assert_true(b->read_only);
		assert_int_equal(b->size, SIZE);
		all = rig_slurp(b);
		assert_memory_equal(all, flat, SIZE);
		assert_int_equal(rig_write(b, all, 512, 0), -EROFS);
		free(all);
		block_free(b);
	}
	free(flat);
}

/* qemu-img puts the directory of a stream in front; other programs write streams in one go and have
 * it at the end. */
static void test_footer(void **state)
{
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), *d, *all, *footer;
	struct block *b = NULL;
	struct err err = ERR_INIT;
	size_t len;

	rig_run(rig, "qemu-img convert -f raw -O vmdk -o subformat=streamOptimized flat d");
	d = rig_file(rig, "d", &len);
	footer = calloc(1, len + 4 * 512);
	memcpy(footer, d, len);
	len = ALIGN_UP(len, 512UL);
	store_le32(footer + len + 12, 3);
	memcpy(footer + len + 512, d, 512);
	store_le64(footer + 56, UINT64_MAX); /* the first header's directory */
	rig_save(rig, "d", footer, len + 3 * 512);
	if (rig_open(rig, "d", BLOCK_VMDK, true, &b, &err) != 0)
		fail_msg("%s", err.msg);
	all = rig_slurp(b);
	assert_memory_equal(all, flat, SIZE);
	free(all);
	block_free(b);
	b = NULL;
	store_le32(footer + len + 12, 2); /* no footer */
	rig_save(rig, "d", footer, len + 3 * 512);
	assert_int_equal(rig_open(rig, "d", BLOCK_VMDK, true, &b, &err), -EINVAL);
	store_le32(footer + len + 12, 3);
	store_le64(footer + len + 512 + 56, UINT64_MAX); /* one that leads nowhere either */
	rig_save(rig, "d", footer, len + 3 * 512);
	assert_int_equal(rig_open(rig, "d", BLOCK_VMDK, true, &b, &err), -EINVAL);
	free(footer);
	free(d);
	free(flat);
}

/* More than one extent of 2 GiB, and places on both sides of the borders. */
static void test_many_extents(void **state)
{
	static const char *const formats[] = { "twoGbMaxExtentFlat", "twoGbMaxExtentSparse" };
	struct rig *rig = *state;
	uint8_t data[4096];

	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		struct block *b = NULL;

		rig_run(rig,
			"rm -f d*.vmdk; qemu-img create -q -f vmdk -o subformat=%s d.vmdk 5G && "
			"qemu-io -f vmdk -c 'write -P 5 2095104k 4k' -c 'write -P 6 2047M 2M' "
			"-c 'write -P 7 5242878k 2k' d.vmdk >/dev/null",
			formats[i]);
		assert_int_equal(rig_open(rig, "d.vmdk", BLOCK_VMDK, true, &b, NULL), 0);
		assert_int_equal(b->size, GIB(5));
		assert_int_equal(rig_read(b, data, 4096, MIB(2048) - 2048), 0);
		assert_true(data[0] == 6 && data[2047] == 6 && data[2048] == 6 && data[4095] == 6);
		assert_int_equal(rig_read(b, data, 4096, GIB(5) - 4096), 0);
		assert_true(data[0] == 0 && data[4095] == 7);
		assert_int_equal(rig_read(b, data, 4096, MIB(2046)), 0);
		assert_true(data[0] == 5 && data[4095] == 5);
		assert_int_equal(rig_read(b, data, 4096, GIB(4)), 0);
		assert_true(data[0] == 0);
		block_free(b);
	}
}

#define TOP  "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
#define FLAT TOP "createType=\"monolithicFlat\"\n"

/* One file behind several lines, zeroes between, as an image's layers are stitched together. */
static void test_lines(void **state)
{
	static const char text[] = FLAT
		"\r\n# Extent description\nRW 8 FLAT \"flat\" 8\n  RDONLY 4\tFLAT \"flat\" 140\n"
		"RW 2 ZERO\nRW 1 FLAT \"flat\" 0\n\n#DDB\nddb.adapterType = \"ide\"\n";
	struct rig *rig = *state;
	uint8_t *flat = make_flat(rig), data[15 * 512];
	struct block *b = NULL;
	struct err err = ERR_INIT;

	rig_save(rig, "d", text, strlen(text));
	if (rig_open(rig, "d", BLOCK_VMDK, true, &b, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(b->size, sizeof(data));
	assert_int_equal(rig_read(b, data, sizeof(data), 0), 0);
	assert_memory_equal(data, flat + 8 * 512, 8 * 512);
	assert_memory_equal(data + 8 * 512, flat + 140 * 512, 4 * 512);
	assert_int_equal(data[12 * 512], 0);
	assert_memory_equal(data + 14 * 512, flat, 512);
	block_free(b);
	free(flat);
}

static void test_refuses(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *words;
	} cases[] = {
		{ "", -EINVAL, "not a vmdk image" },
		{ "\n" FLAT, -EINVAL, "not a vmdk image" },
		{ TOP "RW 8 FLAT \"flat\" 0\n", -EINVAL, "names no type" },
		{ FLAT, -EINVAL, "names no extents" },
		{ TOP "createType=\"vmfs\"\n", -ENOTSUP, "type 'vmfs'" },
		{ TOP "createType=\"fullDevice\"\n", -ENOTSUP, "type 'fullDevice'" },
		{ "# Disk DescriptorFile\nparentCID=12345678\n", -ENOTSUP, "parent" },
		{ FLAT "RW 8 VMFS \"flat\" 0\n", -ENOTSUP, "extents of type 'VMFS'" },
		{ FLAT "NOACCESS 8 FLAT \"flat\" 0\n", -EINVAL,
			"no extent and no value in line 6" },
		{ FLAT "RW 0 FLAT \"flat\" 0\n", -EINVAL, "empty extent" },
		{ FLAT "RW -1 FLAT \"flat\" 0\n", -EINVAL, "number of sectors" },
		{ FLAT "RW 18446744073709551615 FLAT \"flat\" 0\n", -EINVAL, "number of sectors" },
		{ FLAT "RW 8 FLAT \"flat\" 99999999999999999999\n", -EINVAL, "number of sectors" },
		{ FLAT "RW 8 FLAT \"flat\" x\n", -EINVAL, "number of sectors" },
		{ FLAT "RW 8 FLAT flat 0\n", -EINVAL, "name of an extent" },
		{ FLAT "RW 8 FLAT \"flat 0\n", -EINVAL, "name of an extent" },
		{ FLAT "RW 8 FLAT \"\" 0\n", -EINVAL, "name of an extent" },
		{ FLAT "RW 8 FLAT\n", -EINVAL, "name of an extent" },
		{ FLAT "RW\n", -EINVAL, "number of sectors" },
		{ FLAT "RW 8 FLAT \"/etc/passwd\" 0\n", -EACCES, "only a bare name" },
		{ FLAT "RW 8 FLAT \"../flat\" 0\n", -EACCES, "only a bare name" },
		{ FLAT "RW 8 FLAT \"..\" 0\n", -EACCES, "only a bare name" },
		{ FLAT "RW 8 FLAT \"link\" 0\n", -ELOOP, "link" },
		{ FLAT "RW 8 FLAT \"fifo\" 0\n", -EINVAL, "no regular file" },
		{ FLAT "RW 8 FLAT \"missing\" 0\n", -ENOENT, "missing" },
		{ FLAT "RW 6145 FLAT \"flat\" 0\n", -EINVAL, "part 0 of the disk is longer" },
		{ FLAT "RW 8 FLAT \"flat\" 6137\n", -EINVAL, "part 0 of the disk is longer" },
		{ FLAT "RW 8 FLAT \"flat\" 0\nRW 8 FLAT \"flat\" 9007199254740992\n", -EINVAL,
			"part 1 of the disk is longer" },
		{ FLAT "RW 8 SPARSE \"flat\"\n", -EINVAL, "no header" },
		{ FLAT "RW 9007199254740992 ZERO\nRW 9007199254740992 ZERO\n", -EINVAL,
			"impossible size" },
	};
	struct rig *rig = *state;

	free(make_flat(rig));
	rig_run(rig, "ln -s flat link; mkfifo fifo");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct block *b = NULL;
		struct err err = ERR_INIT;
		int r;

		rig_save(rig, "d", cases[i].text, strlen(cases[i].text));
		r = rig_open(rig, "d", BLOCK_VMDK, true, &b, &err);
		if (r != cases[i].code || !strstr(err.msg, cases[i].words))
			fail_msg("%s: got %d '%s'", cases[i].text, r, err.msg);
		assert_int_equal(rig_open(rig, "d", BLOCK_VMDK, true, &b, NULL), r);
	}
}

static void test_long_texts(void **state)
{
	struct vmdk_desc desc;
	size_t max = 400000, len = (size_t)sprintf((char[4096]){ 0 }, "%s", FLAT);
	char *text = malloc(max);

	assert_non_null(text);
	memcpy(text, FLAT, len);
	memset(text + len, 'x', 2000);
	assert_int_equal(vmdk_desc_parse(text, len + 2000, &desc, NULL), -EINVAL);
	for (unsigned i = 0; i <= VMDK_EXTENTS_MAX; i++) {
		if (i == VMDK_EXTENTS_MAX) {
			assert_int_equal(vmdk_desc_parse(text, len, &desc, NULL), 0);
			assert_int_equal(desc.n, VMDK_EXTENTS_MAX);
			vmdk_desc_release(&desc);
		}
		len += (size_t)sprintf(text + len, "RW 8 FLAT \"a-%u\" 0\n", i);
	}
	assert_int_equal(vmdk_desc_parse(text, len, &desc, NULL), -EINVAL);
	free(text);
}

static void abuse(struct rig *rig)
{
	struct block *b = NULL;
	uint8_t data[8192];

	if (rig_open(rig, "d", BLOCK_VMDK, true, &b, NULL) < 0)
		return;
	for (uint64_t at = 0; at < MIN_OF(b->size, (uint64_t)SIZE); at += 30000)
		(void)rig_read(b, data, MIN_OF(sizeof(data), b->size - at), at);
	block_free(b);
}

static void damage(struct rig *rig, const char *subformat)
{
	uint64_t seed = 99;
	uint8_t *d, *bad;
	size_t len;

	rig_run(rig, "rm -f d*; qemu-img convert -f raw -O vmdk -o subformat=%s flat d", subformat);
	d = rig_file(rig, "d", &len);
	for (size_t cut = 0; cut < len; cut += cut < 2048 ? 113 : 91000) {
		rig_save(rig, "d", d, cut);
		abuse(rig);
	}
	bad = malloc(len);
	for (unsigned i = 0; i < 150; i++) {
		/* the header, the tables near it, or the footer and what is before */
		size_t from = i % 3 == 0 ? len - MIN_OF(len, 4096) : 0;
		size_t n = i % 3 == 1 ? 80 : MIN_OF(len, i % 3 ? 70000 : 4096);

		memcpy(bad, d, len);
		for (unsigned k = 0; k < 1 + i % 5; k++)
			bad[from + rig_random(&seed) % n] ^= (uint8_t)(1 << rig_random(&seed) % 8);
		rig_save(rig, "d", bad, len);
		abuse(rig);
	}
	free(bad);
	free(d);
}

static void test_damaged(void **state)
{
	struct rig *rig = *state;

	free(make_flat(rig));
	damage(rig, "monolithicSparse");
	damage(rig, "streamOptimized");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		rig_test(test_variants),
		rig_test(test_footer),
		rig_test(test_many_extents),
		rig_test(test_lines),
		rig_test(test_refuses),
		rig_test(test_long_texts),
		rig_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
