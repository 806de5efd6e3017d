/* SPDX-License-Identifier: Apache-2.0 */
#include "block/probe.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define PROBE_LEN (68u << 10) /* the last mark, that of btrfs, is at 64 KiB and a little */

#define BOOT_SIGNATURE 510 /* 55 aa: of MBR and FAT */
#define MBR_TABLE      446
#define MBR_ENTRY      16
#define MBR_ENTRIES    4

/* struct mark - the bytes that a file system of @type has at @off */
struct mark {
	const char *type;
	uint32_t off;
	uint8_t len;
	const char *bytes;
};

/* Those that Linux mounts from a disk, by the kernel's headers (linux/magic.h and fs/). */
static const struct mark marks[] = {
	{ "ext4", 1080, 2, "\x53\xef" },
	{ "ext3", 1080, 2, "\x53\xef" },
	{ "ext2", 1080, 2, "\x53\xef" },
	{ "xfs", 0, 4, "XFSB" },
	{ "btrfs", 65600, 8, "_BHRfS_M" },
	{ "erofs", 1024, 4, "\xe2\xe1\xf5\xe0" },
	{ "squashfs", 0, 4, "hsqs" },
	{ "f2fs", 1024, 4, "\x10\x20\xf5\xf2" },
	{ "bcachefs", 4120, 4, "\xc6\x85\x73\xf6" },
	{ "iso9660", 32769, 5, "CD001" },
	{ "udf", 32769, 5, "BEA01" },
	{ "udf", 34817, 5, "NSR02" },
	{ "udf", 34817, 5, "NSR03" },
	{ "exfat", 3, 8, "EXFAT   " },
	{ "ntfs3", 3, 8, "NTFS    " },
	{ "cramfs", 0, 4, "\x45\x3d\xcd\x28" },
	{ "cramfs", 512, 4, "\x45\x3d\xcd\x28" },
	{ "romfs", 0, 8, "-rom1fs-" },
	{ "minix", 1040, 2, "\x7f\x13" },
	{ "minix", 1040, 2, "\x8f\x13" },
	{ "minix", 1040, 2, "\x68\x24" },
	{ "minix", 1040, 2, "\x78\x24" },
	{ "minix", 1048, 2, "\x5a\x4d" },
	{ "jfs", 32768, 4, "JFS1" },
	{ "reiserfs", 65588, 6, "ReIsEr" },
	{ "nilfs2", 1030, 2, "\x34\x34" },
	{ "gfs2", 65536, 4, "\x01\x16\x19\x70" },
	{ "hfsplus", 1024, 2, "H+" },
	{ "hfsplus", 1024, 2, "HX" },
};

#define FAT_BIT ARRAY_LEN(marks)

static bool is_fat_type(const char *type)
{
	return strcmp(type, "vfat") == 0 || strcmp(type, "msdos") == 0;
}

/* FAT has no mark, but a first sector whose fields leave little choice. */
static bool looks_like_fat(const uint8_t *h)
{
	unsigned sector = load_le16(h + 11), per_cluster = h[13], tables = h[16], media = h[21];

	return (h[0] == 0xeb || h[0] == 0xe9) && is_pow2(sector) && sector >= 512 &&
	       sector <= 4096 && is_pow2(per_cluster) && (tables == 1 || tables == 2) &&
	       (media == 0xf0 || media >= 0xf8);
}

/* A boot sector ends with the same two bytes; partitions have a type, and are active or not. */
static bool has_mbr(const uint8_t *h)
{
	unsigned used = 0;

	if (h[BOOT_SIGNATURE] != 0x55 || h[BOOT_SIGNATURE + 1] != 0xaa)
		return false;
	for (unsigned i = 0; i < MBR_ENTRIES; i++) {
		const uint8_t *entry = h + MBR_TABLE + (size_t)i * MBR_ENTRY;

		if (entry[0] & 0x7f)
			return false;
		used += entry[4] && load_le32(entry + 12);
	}
	return used > 0;
}

/* Behind the first sector, whatever size sectors have. */
static bool has_gpt(const uint8_t *h)
{
	return memcmp(h + 512, "EFI PART", 8) == 0 || memcmp(h + 4096, "EFI PART", 8) == 0;
}

static void look(const uint8_t *h, struct block_content *ret)
{
	*ret = (struct block_content){ 0 };
	for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
		if (memcmp(h + marks[i].off, marks[i].bytes, marks[i].len) == 0)
			ret->types |= 1u << i;
	}
	if (looks_like_fat(h))
		ret->types |= 1u << FAT_BIT;
	ret->partitions = has_gpt(h) ? "GPT" : has_mbr(h) ? "MBR" : NULL;
	ret->blank = h[0] == 0 && memcmp(h, h + 1, PROBE_LEN - 1) == 0;
}

int block_probe(struct block *b, struct block_content *ret, struct err *err)
{
	cleanup_free uint8_t *head = calloc(1, PROBE_LEN);
	uint64_t whole = ALIGN_DOWN(b->size, (uint64_t)BLOCK_SECTOR);
	struct iovec iov = { head, MIN_OF(whole, (uint64_t)PROBE_LEN) };
	int rc;

	static_assert(ARRAY_LEN(marks) < 32, "a bit for each, and one for FAT");
	if (!head)
		return err_set(err, ENOMEM, "look at what is on the disk");
	rc = iov.iov_len ? block_read(b, &iov, 1, 0) : 0;
	if (rc < 0)
		return err_set(err, rc, "read its first sectors");
	look(head, ret);
	return 0;
}

const char *block_content_type(const struct block_content *content)
{
	for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
		if (content->types & (1u << i))
			return marks[i].type;
	}
	return content->types ? "vfat" : NULL;
}

bool block_content_has(const struct block_content *content, const char *type)
{
	if (is_fat_type(type))
		return content->types & (1u << FAT_BIT);
	for (unsigned i = 0; i < ARRAY_LEN(marks); i++) {
		if ((content->types & (1u << i)) && strcmp(marks[i].type, type) == 0)
			return true;
	}
	return false;
}

bool block_probe_knows(const char *type)
{
	const struct block_content all = { .types = UINT32_MAX };

	return block_content_has(&all, type);
}
