/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "block/block.h"
#include "block/spans.h"
#include "lib/cleanup.h"

#define CONCAT_ALIGN 4096

static int open_part(int fd, unsigned i, struct span *sp, struct err *err)
{
	int r = block_raw_open(fd, true, &sp->image, err);

	if (r < 0) {
		(void)err_wrap(err, "part %u of the disk", i);
		return r;
	}
	sp->len = sp->image->size;
	if (sp->len % CONCAT_ALIGN || !sp->len) {
		block_free(take_ptr(&sp->image));
		return err_msg(err, EINVAL,
			"part %u of the disk has %llu bytes, not a multiple of %d", i,
			(unsigned long long)sp->len, CONCAT_ALIGN);
	}
	return 0;
}

int block_concat_open(const int *fds, unsigned n, struct block **ret, struct err *err)
{
	cleanup_free struct span *span = NULL;
	unsigned done = 0;
	int r = 0;

	if (n == 0 || n > BLOCK_CONCAT_MAX)
		return err_msg(
			err, EINVAL, "a disk has 1 to %d parts, not %u", BLOCK_CONCAT_MAX, n);
	span = calloc(n, sizeof(*span));
	if (!span)
		return err_set(err, ENOMEM, "open disk image");
	while (r == 0 && done < n) {
		r = open_part(fds[done], done, &span[done], err);
		done += r == 0;
	}
	if (r == 0)
		r = spans_new(span, n, ret, err);
	while (r < 0 && done)
		block_free(span[--done].image);
	return r;
}
