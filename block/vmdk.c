/* SPDX-License-Identifier: Apache-2.0 */
#include "block/vmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/file.h"
#include "block/spans.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* An extent; lines that go on in the file of the line before share its descriptor. */
static int open_extent(const struct vmdk_extent *e, int dir_fd, const struct vmdk_extent *before,
	const struct span *span_before, struct span *sp, struct err *err)
{
	cleanup_fd int fd = -1;
	int r;

	*sp = (struct span){ .len = e->len, .off = e->off };
	if (e->kind == VMDK_ZERO)
		return 0;
	if (before && before->kind == e->kind && strcmp(before->name, e->name) == 0) {
		sp->image = span_before->image;
		return 0;
	}
	r = file_open_named(dir_fd, e->name, &fd, err);
	if (r == 0)
		r = e->kind == VMDK_FLAT ? block_raw_open(fd, true, &sp->image, err)
					 : vmdk_sparse_open(fd, false, &sp->image, err);
	if (r < 0)
		(void)err_wrap(err, "vmdk extent '%s'", e->name);
	return r;
}

static void free_spans(struct span *span, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (i == 0 || span[i].image != span[i - 1].image)
			block_free(span[i].image);
	}
}

static int open_extents(
	const struct vmdk_desc *desc, int dir_fd, struct block **ret, struct err *err)
{
	cleanup_free struct span *span = calloc(desc->n, sizeof(*span));
	unsigned done = 0;
	int r = 0;

	if (!span)
		return err_set(err, ENOMEM, "open vmdk image");
	while (r == 0 && done < desc->n) {
		const struct vmdk_extent *e = &desc->extent[done];

		r = open_extent(e, dir_fd, done ? e - 1 : NULL, done ? &span[done - 1] : NULL,
			&span[done], err);
		done += r == 0;
	}
	if (r == 0)
		r = spans_new(span, desc->n, ret, err);
	if (r < 0)
		free_spans(span, done);
	return r;
}

static int open_text(int fd, uint64_t size, int dir_fd, struct block **ret, struct err *err)
{
	cleanup_free char *text = NULL;
	struct vmdk_desc desc;
	int r;

	if (!size || size > VMDK_DESC_MAX)
		return err_msg(err, EINVAL, "not a vmdk image");
	text = malloc(size);
	if (!text)
		return err_set(err, ENOMEM, "open vmdk image");
	r = file_read(fd, text, size, 0);
	if (r < 0)
		return err_set(err, r, "read the descriptor of the vmdk image");
	r = vmdk_desc_parse(text, size, &desc, err);
	if (r < 0)
		return r;
	r = open_extents(&desc, dir_fd, ret, err);
	vmdk_desc_release(&desc);
	return r;
}

int vmdk_open(const struct block_config *cfg, struct block **ret, struct err *err)
{
	cleanup_fd int fd = -1;
	struct file_info info;
	int r = file_adopt(cfg->fd, true, &info, err);

	if (r < 0)
		return r;
	fd = info.fd;
	if (vmdk_is_sparse(fd, info.size))
		r = vmdk_sparse_open(fd, true, ret, err);
	else
		r = open_text(fd, info.size, cfg->dir_fd, ret, err);
	if (r == 0)
		memcpy((*ret)->id, info.id, BLOCK_ID_LEN);
	return r;
}
