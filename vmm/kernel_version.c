/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which Linux a kernel file is. A bzImage's header leads to a text ("5.10.0-28-amd64 (...) #1"); an
 * uncompressed kernel has the banner that /proc/version shows. Both are only believed where they
 * look as Linux writes them; whoever made the file can make us choose a root that works less well,
 * and no more.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/num.h"
#include "vmm/kernel.h"

#define SETUP_START    0x1f1
#define KERNEL_VERSION 0x20e /* offset of the text, less 0x200; 0: none */
#define VERSION_BASE   0x200
#define VERSION_TEXT   64
#define DIGITS_MAX     3
#define BANNER	       "Linux version "
#define BANNER_MAX     256 /* "Linux version RELEASE (" */
#define SCAN_CHUNK     KIB(64)
#define SCAN_MAX       MIB(64)

/* struct text_at - what is left to read; never beyond @end */
struct text_at {
	const uint8_t *p, *end;
};

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool take_number(struct text_at *t, unsigned *ret)
{
	unsigned n = 0;

	*ret = 0;
	for (; t->p < t->end && is_digit(*t->p) && n < DIGITS_MAX; n++)
		*ret = *ret * 10 + (unsigned)(*t->p++ - '0');
	/* Behind the last byte that there is, the number might go on. */
	return n && t->p < t->end && !is_digit(*t->p);
}

/* "5.10" of "5.10.0-28-amd64", "6.4-rc1", "6.4" */
static bool take_version(struct text_at *t, struct vm_kernel_version *ret)
{
	struct vm_kernel_version v;

	if (!take_number(t, &v.major) || !v.major || *t->p++ != '.' || !take_number(t, &v.minor))
		return false;
	if (*t->p && !strchr(".-+_ ", *t->p))
		return false;
	*ret = v;
	return true;
}

/* What names the host that a kernel was built on follows its release, in brackets. */
static bool is_release_end(const struct text_at *t)
{
	const uint8_t *space = memchr(t->p, ' ', (size_t)(t->end - t->p));

	return space && t->end - space > 1 && space[1] == '(' &&
	       !memchr(t->p, 0, (size_t)(space - t->p));
}

static bool find_banner(const uint8_t *data, size_t len, struct vm_kernel_version *ret)
{
	const uint8_t *at = data, *end = data + len;

	while ((at = memmem(at, (size_t)(end - at), BANNER, strlen(BANNER)))) {
		struct text_at t = { at + strlen(BANNER), end };
		struct vm_kernel_version v;

		t.end = (size_t)(end - at) > BANNER_MAX ? at + BANNER_MAX : end;
		if (take_version(&t, &v) && is_release_end(&t)) {
			*ret = v;
			return true;
		}
		at++;
	}
	return false;
}

/* Chunks overlap, so that a banner is whole in one of them. */
static bool scan(
	const struct kernel_src *src, uint64_t off, uint64_t len, struct vm_kernel_version *ret)
{
	uint8_t chunk[SCAN_CHUNK];

	while (len) {
		uint64_t n = MIN_OF(len, (uint64_t)sizeof(chunk));

		if (kernel_src_read(src, off, chunk, n) < 0)
			return false;
		if (find_banner(chunk, n, ret))
			return true;
		if (n == len)
			return false;
		off += n - BANNER_MAX;
		len -= n - BANNER_MAX;
	}
	return false;
}

static void scan_segments(
	const struct kernel *k, const struct kernel_src *src, struct vm_kernel_version *ret)
{
	uint64_t left = SCAN_MAX;

	for (unsigned i = 0; i < k->n_segments && left; i++) {
		uint64_t len = MIN_OF(left, k->segment[i].file_len);

		if (scan(src, k->segment[i].file_off, len, ret))
			return;
		left -= len;
	}
}

static void read_header(
	const struct kernel *k, const struct kernel_src *src, struct vm_kernel_version *ret)
{
	uint64_t off = load_le16(k->setup + KERNEL_VERSION - SETUP_START);
	uint8_t text[VERSION_TEXT];
	struct text_at t = { text, text };
	size_t len;

	if (!off || off + VERSION_BASE >= src->size)
		return;
	off += VERSION_BASE;
	len = MIN_OF(src->size - off, (uint64_t)sizeof(text));
	if (kernel_src_read(src, off, text, len) < 0)
		return;
	t.end += len;
	(void)take_version(&t, ret);
}

void kernel_find_version(
	const struct kernel *k, const struct kernel_src *src, struct vm_kernel_version *ret)
{
	*ret = (struct vm_kernel_version){ 0 };
	if (k->setup_len)
		read_header(k, src, ret);
	else
		scan_segments(k, src, ret);
}

int vm_kernel_version(const struct vm_kernel *cfg, struct vm_kernel_version *ret, struct err *err)
{
	struct kernel_src src = { .fd = -1 };
	struct kernel *k = NULL;
	struct stat st;
	int rc = cfg->path ? kernel_open(cfg, &k, err) : 0;

	*ret = (struct vm_kernel_version){ 0 };
	if (rc < 0 || !k)
		return rc;
	src.fd = k->fd;
	if (fstat(k->fd, &st) < 0) {
		rc = err_set(err, errno, "stat kernel '%s'", cfg->path);
	} else {
		src.size = (uint64_t)st.st_size;
		kernel_find_version(k, &src, ret);
	}
	kernel_free(k);
	return rc;
}
