/* SPDX-License-Identifier: Apache-2.0 */
/* The header of a qcow2 image and its extensions: from bytes to values that are all legal. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "block/qcow2.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define MAGIC	       0x514649fb
#define V2_LEN	       72
#define V3_LEN	       104
#define HEAD_MAX       65536 /* of the first cluster: header, extensions, feature names */
#define L1_MAX	       (MIB(32) / 8)
#define REFTABLE_MAX   MIB(8)
#define SNAPSHOTS_MAX  65536
#define EXT_BACKING    0xe2792aca
#define EXT_FEATURES   0x6803f857
#define FEATURE_LEN    48
#define FEATURE_NAME   46
#define DEFLATE	       0
#define ZSTD	       1
#define KNOWN_INCOMPAT (QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT | QCOW2_INCOMPAT_COMPRESSION)

/* What one call works on: the start of the file, and fields that only the checks need. */
struct raw_header {
	uint8_t data[HEAD_MAX];
	size_t len;
	uint64_t file_size, backing_off;
	uint32_t backing_len, crypt, header_len;
};

static int damaged(struct err *err, const char *what)
{
	return err_msg(err, EINVAL, "the qcow2 image is damaged: %s", what);
}

static int parse_fields(struct raw_header *raw, struct qcow2_header *h, struct err *err)
{
	struct cursor c = cursor_init(raw->data, raw->len);

	if (cursor_be32(&c) != MAGIC)
		return err_msg(err, EINVAL, "not a qcow2 image");
	h->version = cursor_be32(&c);
	raw->backing_off = cursor_be64(&c);
	raw->backing_len = cursor_be32(&c);
	h->cluster_bits = cursor_be32(&c);
	h->size = cursor_be64(&c);
	raw->crypt = cursor_be32(&c);
	h->l1_size = cursor_be32(&c);
	h->l1_off = cursor_be64(&c);
	h->reftable_off = cursor_be64(&c);
	h->reftable_clusters = cursor_be32(&c);
	h->n_snapshots = cursor_be32(&c);
	h->snapshots_off = cursor_be64(&c);
	h->refcount_order = 4;
	raw->header_len = V2_LEN;
	if (h->version == 3) {
		h->incompat = cursor_be64(&c);
		(void)cursor_be64(&c); /* compatible features: those we do not know do no harm */
		h->autoclear = cursor_be64(&c);
		h->refcount_order = cursor_be32(&c);
		raw->header_len = cursor_be32(&c);
	}
	return c.failed ? damaged(err, "the file ends within the header") : 0;
}

/* The type of compression is an optional field at the end. */
static int parse_compression(const struct raw_header *raw, struct qcow2_header *h, struct err *err)
{
	uint8_t type = raw->header_len > V3_LEN ? raw->data[V3_LEN] : DEFLATE;
	bool other = h->incompat & QCOW2_INCOMPAT_COMPRESSION;

	if (type > ZSTD)
		return err_msg(
			err, ENOTSUP, "the qcow2 image uses compression type %u, unknown", type);
	if (other != (type != DEFLATE))
		return damaged(err, "contradictory compression type");
	h->zstd = type == ZSTD;
	return 0;
}

static int check_basics(const struct raw_header *raw, const struct qcow2_header *h, struct err *err)
{
	if (h->version != 2 && h->version != 3)
		return err_msg(err, ENOTSUP, "qcow2 version %u is not supported", h->version);
	if (h->cluster_bits < QCOW2_MIN_BITS || h->cluster_bits > QCOW2_MAX_BITS)
		return damaged(err, "cluster size");
	if (h->refcount_order > 6)
		return damaged(err, "refcount width");
	if (raw->header_len < (h->version == 2 ? V2_LEN : V3_LEN) || raw->header_len % 8 ||
		raw->header_len > raw->len || raw->header_len > 1U << h->cluster_bits)
		return damaged(err, "header length");
	if (raw->crypt)
		return err_msg(err, ENOTSUP, "encrypted qcow2 images are not supported");
	return 0;
}

/* A table must be there as a whole, but for the last bytes: QEMU cuts files off after the last
 * entry that is in use. */
static bool table_ok(
	const struct raw_header *raw, const struct qcow2_header *h, uint64_t off, uint64_t len)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;

	return off >= cluster && off % cluster == 0 && off < raw->file_size &&
	       range_ok(off, len, ALIGN_UP(raw->file_size, cluster));
}

static int check_tables(const struct raw_header *raw, const struct qcow2_header *h, struct err *err)
{
	unsigned l1_shift = 2 * h->cluster_bits - 3; /* bytes of disk behind one entry of L1 */
	uint64_t wanted;

	if (raw->file_size > INT64_MAX / 2)
		return err_msg(err, EFBIG, "the file of the qcow2 image is too large");
	if (h->size > INT64_MAX / 2)
		return damaged(err, "disk size");
	wanted = (h->size >> l1_shift) + !!(h->size & ((UINT64_C(1) << l1_shift) - 1));
	if (h->l1_size > L1_MAX || wanted > h->l1_size)
		return damaged(err, "size of the L1 table");
	if (h->l1_size && !table_ok(raw, h, h->l1_off, (uint64_t)h->l1_size * 8))
		return damaged(err, "place of the L1 table");
	if (!h->reftable_clusters ||
		(uint64_t)h->reftable_clusters << h->cluster_bits > REFTABLE_MAX)
		return damaged(err, "size of the refcount table");
	if (!table_ok(raw, h, h->reftable_off, (uint64_t)h->reftable_clusters << h->cluster_bits))
		return damaged(err, "place of the refcount table");
	if (h->n_snapshots > SNAPSHOTS_MAX ||
		(h->n_snapshots && !table_ok(raw, h, h->snapshots_off, 40)))
		return damaged(err, "snapshot table");
	return 0;
}

/* --- extensions --- */

/* The image's own name of an incompatible feature that we do not know. */
static void feature_name(
	const uint8_t *table, size_t len, unsigned bit, char name[FEATURE_NAME + 1])
{
	for (size_t at = 0; table && at + FEATURE_LEN <= len; at += FEATURE_LEN) {
		if (table[at] != 0 || table[at + 1] != bit)
			continue;
		memcpy(name, table + at + 2, FEATURE_NAME);
		name[FEATURE_NAME] = 0;
		return;
	}
}

static int check_features(
	const struct qcow2_header *h, const uint8_t *names, size_t names_len, struct err *err)
{
	uint64_t unknown = h->incompat & ~KNOWN_INCOMPAT;
	char name[FEATURE_NAME + 1] = "no name given";
	unsigned bit;

	if (unknown & QCOW2_INCOMPAT_DATA_FILE)
		return err_msg(
			err, ENOTSUP, "qcow2 images with an external data file are not supported");
	if (unknown & QCOW2_INCOMPAT_EXTENDED_L2)
		return err_msg(
			err, ENOTSUP, "qcow2 images with extended L2 entries are not supported");
	if (!unknown)
		return 0;
	bit = (unsigned)__builtin_ctzll(unknown);
	feature_name(names, names_len, bit, name);
	return err_msg(
		err, ENOTSUP, "the qcow2 image uses an unknown feature: bit %u (%s)", bit, name);
}

static int parse_extensions(struct raw_header *raw, struct qcow2_header *h, struct err *err)
{
	size_t end = raw->backing_off ? MIN_OF(raw->backing_off, raw->len) : raw->len;
	struct cursor c = cursor_init(raw->data, MIN_OF(end, (size_t)1 << h->cluster_bits));
	const uint8_t *names = NULL;
	size_t names_len = 0;

	c.pos = MIN_OF(raw->header_len, c.len);
	while (cursor_left(&c) >= 8) {
		uint32_t type = cursor_be32(&c), len = cursor_be32(&c);
		const uint8_t *data;

		if (type == 0)
			break;
		if (len > cursor_left(&c))
			return damaged(err, "header extension");
		data = cursor_bytes(&c, len);
		(void)cursor_bytes(&c, MIN_OF(-len & 7, cursor_left(&c)));
		if (type == EXT_BACKING) {
			if (len >= sizeof(h->backing_format) || memchr(data, 0, len))
				return damaged(err, "format of the backing file");
			memcpy(h->backing_format, data, len);
		} else if (type == EXT_FEATURES) {
			names = data;
			names_len = len;
		}
	}
	return check_features(h, names, names_len, err);
}

/* The name lies in the first cluster, behind the header. */
static int parse_backing(
	int fd, const struct raw_header *raw, struct qcow2_header *h, struct err *err)
{
	uint64_t cluster = UINT64_C(1) << h->cluster_bits;
	int r;

	if (!raw->backing_off)
		return 0;
	if (raw->backing_len == 0 || raw->backing_len > QCOW2_NAME_MAX ||
		raw->backing_off < raw->header_len ||
		!range_ok(raw->backing_off, raw->backing_len, cluster))
		return damaged(err, "place of the backing file's name");
	r = file_read(fd, h->backing, raw->backing_len, raw->backing_off);
	if (r < 0)
		return err_set(err, r, "read the name of the backing file");
	h->backing[raw->backing_len] = 0;
	if (strlen(h->backing) != raw->backing_len)
		return damaged(err, "name of the backing file");
	return 0;
}

static int check_writable(const struct qcow2_header *h, struct err *err)
{
	if (h->incompat & QCOW2_INCOMPAT_CORRUPT)
		return err_msg(err, EINVAL,
			"the qcow2 image is marked as damaged: run qemu-img check -r all on it");
	if (h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)
		return err_msg(err, ENOTSUP,
			"the qcow2 image has dirty bitmaps: open it read-only, or remove them with "
			"qemu-img bitmap --remove");
	return 0;
}

int qcow2_header_read(
	int fd, uint64_t file_size, bool read_only, struct qcow2_header *h, struct err *err)
{
	cleanup_free struct raw_header *raw = calloc(1, sizeof(*raw));
	struct qcow2_header got = { 0 };
	int r;

	if (!raw)
		return err_set(err, ENOMEM, "open qcow2 image");
	raw->file_size = file_size;
	raw->len = MIN_OF(file_size, HEAD_MAX);
	r = file_read(fd, raw->data, raw->len, 0);
	if (r < 0)
		return err_set(err, r, "read the header of the qcow2 image");
	r = parse_fields(raw, &got, err);
	if (r == 0)
		r = check_basics(raw, &got, err);
	if (r == 0)
		r = parse_extensions(raw, &got, err);
	if (r == 0)
		r = parse_compression(raw, &got, err);
	if (r == 0)
		r = check_tables(raw, &got, err);
	if (r == 0)
		r = parse_backing(fd, raw, &got, err);
	if (r == 0 && !read_only)
		r = check_writable(&got, err);
	if (r == 0)
		*h = got;
	return r;
}
