/* SPDX-License-Identifier: Apache-2.0 */
/* An image, walked by every function of the reader. */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/erofs.h"
#include "lib/cleanup.h"
#include "lib/path.h"

#define MAX_VISITS 2000

struct walk {
	struct erofs *e;
	unsigned visits, depth;
};

static int visit(void *ctx, const char *name, uint64_t nid, struct err *err);

static int on_xattr(void *ctx, const char *name, const void *value, size_t len, struct err *err)
{
	return 0;
}

static void visit_data(struct walk *w, const struct erofs_inode *i)
{
	struct erofs_extent x;
	uint8_t buf[5000];

	(void)erofs_read(w->e, i, 0, buf, sizeof(buf), NULL);
	(void)erofs_read(w->e, i, i->size / 2, buf, sizeof(buf), NULL);
	for (uint64_t off = 0, n = 0; off < i->size && n < 100; off = x.logical + x.len, n++) {
		if (erofs_map(w->e, i, off, &x, NULL) < 0)
			return;
		if (!x.len || x.logical > off || x.logical + x.len <= off)
			abort();
	}
}

static int visit(void *ctx, const char *name, uint64_t nid, struct err *err)
{
	struct walk *w = ctx;
	struct erofs_inode i;

	if (!path_name_ok(name))
		abort();
	if (++w->visits > MAX_VISITS || w->depth > 20 || erofs_get(w->e, nid, &i, NULL) < 0)
		return 0;
	(void)erofs_xattrs(w->e, &i, on_xattr, NULL, NULL);
	visit_data(w, &i);
	w->depth++;
	if (S_ISDIR(i.mode))
		(void)erofs_list(w->e, &i, visit, w, NULL);
	w->depth--;
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_fd int fd = memfd_create("image", MFD_CLOEXEC);
	cleanup_erofs struct erofs *e = NULL;
	struct walk w = { 0 };
	struct erofs_inode i;

	if (write(fd, data, size) != (ssize_t)size || erofs_open(fd, NULL, 0, &e, NULL) < 0)
		return 0;
	w.e = e;
	(void)visit(&w, "root", erofs_root(e), NULL);
	(void)erofs_lookup(e, "l/../up/hello", true, &i, NULL);
	return 0;
}
