/* SPDX-License-Identifier: Apache-2.0 */
#include "image/tar_write.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"

#define BLOCK	     512u
#define OCTAL_7_MAX  07777777u
#define OCTAL_11_MAX 077777777777ull
#define PAX_NAME     "././@PaxHeader"

/* ustar, POSIX.1-1988 */
struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type;
	char link[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8];
	char prefix[155], pad[12];
};

_Static_assert(sizeof(struct header) == BLOCK, "a tar header is one block");

static void octal(char *field, size_t size, uint64_t v)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%0*" PRIo64, (int)size - 1, v);
	memcpy(field, text, size - 1);
}

static void fill(struct header *h, const struct tar_member *m)
{
	unsigned sum = 0;

	memset(h, 0, sizeof(*h));
	memcpy(h->name, m->name, MIN_OF(strlen(m->name), sizeof(h->name)));
	if (m->link)
		memcpy(h->link, m->link, MIN_OF(strlen(m->link), sizeof(h->link)));
	octal(h->mode, sizeof(h->mode), m->mode & 07777);
	octal(h->uid, sizeof(h->uid), MIN_OF(m->uid, OCTAL_7_MAX));
	octal(h->gid, sizeof(h->gid), MIN_OF(m->gid, OCTAL_7_MAX));
	octal(h->size, sizeof(h->size), MIN_OF(m->size, OCTAL_11_MAX));
	octal(h->mtime, sizeof(h->mtime),
		m->mtime < 0 ? 0 : MIN_OF((uint64_t)m->mtime, OCTAL_11_MAX));
	octal(h->major, sizeof(h->major), m->major);
	octal(h->minor, sizeof(h->minor), m->minor);
	h->type = m->type;
	memcpy(h->magic, "ustar", 6);
	memcpy(h->version, "00", 2);
	memset(h->checksum, ' ', sizeof(h->checksum));
	for (size_t i = 0; i < sizeof(*h); i++)
		sum += ((const unsigned char *)h)[i];
	octal(h->checksum, 7, sum);
	h->checksum[6] = '\0';
}

int tar_pax_record(struct buf *pax, const char *key, const void *value, size_t len)
{
	/* The length counts its own digits. */
	size_t rest = strlen(key) + len + 3, total = rest, digits = 0;
	char head[32];

	do {
		digits = (size_t)snprintf(head, sizeof(head), "%zu ", total) - 1;
		if (digits + rest == total)
			break;
		total = digits + rest;
	} while (1);
	if (buf_append(pax, head, digits + 1) < 0 || buf_append(pax, key, strlen(key)) < 0 ||
		buf_append(pax, "=", 1) < 0 || buf_append(pax, value, len) < 0 ||
		buf_append(pax, "\n", 1) < 0)
		return -ENOMEM;
	return 0;
}

static int number_record(struct buf *pax, const char *key, uint64_t v, uint64_t max)
{
	char text[32];

	if (v <= max)
		return 0;
	return tar_pax_record(pax, key, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, v));
}

static int text_record(struct buf *pax, const char *key, const char *text, size_t room)
{
	if (!text || strlen(text) <= room)
		return 0;
	return tar_pax_record(pax, key, text, strlen(text));
}

/* Seconds and nanoseconds as one decimal fraction: -0.5 is second -1 and 500,000,000 ns. */
static int time_record(struct buf *pax, const struct tar_member *m)
{
	uint64_t whole = m->mtime < 0 ? -(uint64_t)m->mtime : (uint64_t)m->mtime;
	uint32_t ns = m->mtime_ns;
	char text[64];
	int n;

	if (m->mtime >= 0 && (uint64_t)m->mtime <= OCTAL_11_MAX && !ns)
		return 0;
	if (m->mtime < 0 && ns) {
		whole--;
		ns = 1000000000u - ns;
	}
	n = snprintf(text, sizeof(text), "%s%" PRIu64 ".%09u", m->mtime < 0 ? "-" : "", whole, ns);
	while (text[n - 1] == '0')
		n--;
	n -= text[n - 1] == '.';
	return tar_pax_record(pax, "mtime", text, (size_t)n);
}

static int add_records(struct buf *pax, const struct tar_member *m)
{
	int rc = text_record(pax, "path", m->name, sizeof(((struct header *)0)->name));

	rc = rc ? rc : text_record(pax, "linkpath", m->link, sizeof(((struct header *)0)->link));
	rc = rc ? rc : number_record(pax, "uid", m->uid, OCTAL_7_MAX);
	rc = rc ? rc : number_record(pax, "gid", m->gid, OCTAL_7_MAX);
	rc = rc ? rc : number_record(pax, "size", m->size, OCTAL_11_MAX);
	rc = rc ? rc : time_record(pax, m);
	if (rc == 0 && m->pax && m->pax->len)
		rc = buf_append(pax, buf_head(m->pax), m->pax->len);
	return rc;
}

static int write_pax(const struct buf *pax, tar_sink_fn *sink, void *ctx, struct err *err)
{
	struct tar_member m = { .type = 'x', .name = PAX_NAME, .mode = 0644, .size = pax->len };
	struct header h;
	int rc;

	fill(&h, &m);
	rc = sink(ctx, &h, sizeof(h), err);
	rc = rc ? rc : sink(ctx, buf_head(pax), pax->len, err);
	return rc ? rc : tar_write_padding(pax->len, sink, ctx, err);
}

int tar_write_header(const struct tar_member *m, tar_sink_fn *sink, void *ctx, struct err *err)
{
	cleanup_buf struct buf pax = { 0 };
	struct header h;
	int rc = 0;

	if (add_records(&pax, m) < 0)
		return err_set(err, ENOMEM, "write a tar header");
	if (pax.len)
		rc = write_pax(&pax, sink, ctx, err);
	if (rc < 0)
		return rc;
	fill(&h, m);
	return sink(ctx, &h, sizeof(h), err);
}

int tar_write_padding(uint64_t size, tar_sink_fn *sink, void *ctx, struct err *err)
{
	static const char zeros[BLOCK];
	size_t n = (size_t)(-size & (BLOCK - 1));

	return n ? sink(ctx, zeros, n, err) : 0;
}

int tar_write_end(tar_sink_fn *sink, void *ctx, struct err *err)
{
	static const char zeros[2 * BLOCK];

	return sink(ctx, zeros, sizeof(zeros), err);
}
