/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "block/probe.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define SIZE (100u << 10)

static struct block_content probe(const uint8_t *data, size_t len)
{
	cleanup_fd int fd = memfd_create("image", MFD_CLOEXEC);
	struct block_content content;
	struct block *b;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	assert_int_equal(block_raw_open(fd, true, &b, NULL), 0);
	assert_int_equal(block_probe(b, &content, NULL), 0);
	block_free(b);
	return content;
}

static void finds_file_systems(void **state)
{
	static const struct {
		const char *type;
		size_t off;
		const char *mark;
	} cases[] = { { "ext4", 1080, "\x53\xef" }, { "xfs", 0, "XFSB" },
		{ "btrfs", 65600, "_BHRfS_M" }, { "erofs", 1024, "\xe2\xe1\xf5\xe0" },
		{ "squashfs", 0, "hsqs" }, { "iso9660", 32769, "CD001" } };

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint8_t data[SIZE] = { 0 };
		struct block_content c;

		memcpy(data + cases[i].off, cases[i].mark, strlen(cases[i].mark));
		c = probe(data, sizeof(data));
		assert_string_equal(block_content_type(&c), cases[i].type);
		assert_true(block_content_has(&c, cases[i].type));
		assert_false(block_content_has(&c, "f2fs"));
		assert_null(c.partitions);
		assert_false(c.blank);
		/* A file that ends within its mark, or before it, has none. */
		c = probe(data, ALIGN_DOWN(cases[i].off, 512u));
		assert_null(block_content_type(&c));
	}
	assert_true(block_probe_knows("ext2") && block_probe_knows("vfat"));
	assert_false(block_probe_knows("ntfs") || block_probe_knows(""));
}

static void one_mark_is_of_three(void **state)
{
	uint8_t data[SIZE] = { [1080] = 0x53, [1081] = 0xef };
	struct block_content c = probe(data, sizeof(data));

	assert_true(block_content_has(&c, "ext2") && block_content_has(&c, "ext3"));
}

static void finds_fat_by_its_fields(void **state)
{
	uint8_t data[SIZE] = { 0xeb, 0x3c,
		0x90, [12] = 2, [13] = 4, [16] = 2, [21] = 0xf8, [510] = 0x55, [511] = 0xaa };
	struct block_content c = probe(data, sizeof(data));

	assert_string_equal(block_content_type(&c), "vfat");
	assert_true(block_content_has(&c, "msdos"));
	assert_null(c.partitions);
	data[12] = 3;
	c = probe(data, sizeof(data));
	assert_null(block_content_type(&c));
}

static void finds_partition_tables(void **state)
{
	uint8_t data[SIZE] = {
		[446] = 0x80, [450] = 0x83, [454] = 8, [458] = 100, [510] = 0x55, [511] = 0xaa
	};
	struct block_content c = probe(data, sizeof(data));

	assert_string_equal(c.partitions, "MBR");
	assert_null(block_content_type(&c));
	data[446] = 0x12; /* code, not a table */
	c = probe(data, sizeof(data));
	assert_null(c.partitions);
	memcpy(data + 512, "EFI PART", 8);
	c = probe(data, sizeof(data));
	assert_string_equal(c.partitions, "GPT");
}

static void nothing_is_blank(void **state)
{
	static const size_t lens[] = { 0, 1, 511, 512, 4096, SIZE };
	uint8_t data[SIZE] = { 0 };
	struct block_content c;

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		c = probe(data, lens[i]);
		assert_true(c.blank);
		assert_null(block_content_type(&c));
	}
	data[300] = 1;
	c = probe(data, SIZE);
	assert_false(c.blank);
	memset(data, 'x', sizeof(data));
	c = probe(data, SIZE);
	assert_null(block_content_type(&c));
	assert_null(c.partitions);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_file_systems),
		cmocka_unit_test(one_mark_is_of_three),
		cmocka_unit_test(finds_fat_by_its_fields),
		cmocka_unit_test(finds_partition_tables),
		cmocka_unit_test(nothing_is_blank),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
