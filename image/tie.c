/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tie.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "image/erofs.h"
#include "image/erofs_disk.h"
#include "lib/io.h"
#include "lib/num.h"

/* struct identity - of a layer's file; @mtime only where the superblock does not vouch for it */
struct identity {
	struct erofs_super_disk sb;
	uint64_t size, mtime_s, mtime_ns;
} __attribute__((packed));

static int read_at(int fd, void *ret, size_t len, uint64_t pos, struct err *err)
{
	ssize_t n = io_pread(fd, ret, len, pos);

	if (n < 0)
		return err_set(err, (int)n, "read an image file");
	return (size_t)n == len ? 0 : err_msg(err, EBADMSG, "an image file is cut off");
}

/* Its size must be what the superblock says: what follows on the same disk counts on it. */
static int read_super(int fd, struct erofs_super_disk *ret, struct stat *st, struct err *err)
{
	int rc = read_at(fd, ret, sizeof(*ret), EROFS_SB_POS, err);

	if (rc < 0)
		return rc;
	if (fstat(fd, st) < 0)
		return err_set(err, errno, "look at an image file");
	if (ret->magic != EROFS_MAGIC ||
		(uint64_t)st->st_size != (uint64_t)ret->blocks * EROFS_BLOCK)
		return err_msg(err, EBADMSG, "an image file has not the size that it says");
	return 0;
}

static int identify(int fd, struct identity *ret, struct err *err)
{
	static const uint8_t none[sizeof(ret->sb.uuid)];
	struct stat st;
	int rc = read_super(fd, &ret->sb, &st, err);

	if (rc < 0)
		return rc;
	ret->size = (uint64_t)st.st_size;
	if (!memcmp(ret->sb.uuid, none, sizeof(none))) {
		ret->mtime_s = (uint64_t)st.st_mtim.tv_sec;
		ret->mtime_ns = (uint64_t)st.st_mtim.tv_nsec;
	}
	return 0;
}

int tie_tag(int layer_fd, char ret[static SHA256_TEXT_MAX], struct err *err)
{
	struct identity id = { .size = 0 };
	int rc = identify(layer_fd, &id, err);

	if (rc == 0)
		sha256_text(&id, sizeof(id), ret);
	return rc;
}

static int check_layer(
	const struct erofs_device_disk *slot, int fd, uint64_t block, struct err *err)
{
	struct identity id = { .size = 0 };
	char tag[SHA256_TEXT_MAX];
	int rc = identify(fd, &id, err);

	if (rc < 0)
		return rc;
	sha256_text(&id, sizeof(id), tag);
	if (memcmp(slot->tag, tag, sizeof(slot->tag)) != 0 || slot->blocks != id.sb.blocks ||
		slot->mapped_blkaddr != block)
		return err_msg(err, ESTALE, "it was merged of other files");
	return 0;
}

int tie_check(int merged_fd, const int *layer_fd, size_t n, struct err *err)
{
	struct erofs_super_disk sb;
	struct stat st;
	uint64_t block, pos;
	int rc = read_super(merged_fd, &sb, &st, err);

	_Static_assert(sizeof(((struct erofs_device_disk *)0)->tag) == SHA256_TEXT_MAX - 1,
		"the tag is the digest's text");
	if (rc < 0)
		return rc;
	if (!(sb.feature_incompat & EROFS_INCOMPAT_DEVICE_TABLE) || sb.extra_devices != n)
		return err_msg(err, ESTALE, "it was merged of another number of layers");
	pos = (uint64_t)sb.devt_slotoff * sizeof(struct erofs_device_disk);
	block = sb.blocks;
	for (size_t i = 0; i < n && rc == 0; i++, pos += sizeof(struct erofs_device_disk)) {
		struct erofs_device_disk slot;

		rc = read_at(merged_fd, &slot, sizeof(slot), pos, err);
		rc = rc ? rc : check_layer(&slot, layer_fd[i], block, err);
		if (rc < 0)
			(void)err_wrap(err, "layer %zu", i + 1);
		block += slot.blocks;
	}
	return rc;
}
