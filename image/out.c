/* SPDX-License-Identifier: Apache-2.0 */
#include "image/out.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/io.h"
#include "lib/num.h"

/* Gaps below this are cheaper as zeros than as a write of their own. */
#define GAP_MAX 65536U
/* Pieces from this on are cheaper to write than to copy first. */
#define DIRECT_MIN 65536U
/* How much the kernel may keep to itself before it begins to write. */
#define BEHIND_STEP MIB(4)

int out_init(struct out *o, int fd, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set(err, errno, "image file");
	if (!S_ISREG(st.st_mode) || st.st_size != 0)
		return err_msg(err, EINVAL, "image file: not an empty regular file");
	*o = (struct out){ .fd = fd, .buf = malloc(OUT_BUFFER) };
	return o->buf ? 0 : err_set(err, ENOMEM, "image file");
}

void out_release(struct out *o)
{
	free(o->buf);
	o->buf = NULL;
}

static int write_all(int fd, const uint8_t *data, size_t len, uint64_t pos, struct err *err)
{
	int r = io_pwrite(fd, data, len, pos);

	return r < 0 ? err_set(err, r, "write image file") : 0;
}

/*
 * Whoever publishes the file waits until all of it is on the disk. Writing starts now, beside the
 * making of the rest, so that little is left to wait for. A hint: where it fails, it is all left.
 */
static void write_behind(struct out *o, uint64_t end)
{
	end = ALIGN_DOWN(end, BEHIND_STEP);
	if (end <= o->behind)
		return;
	(void)sync_file_range(
		o->fd, (off_t)o->behind, (off_t)(end - o->behind), SYNC_FILE_RANGE_WRITE);
	o->behind = end;
}

static int flush(struct out *o, struct err *err)
{
	int r = write_all(o->fd, o->buf, o->fill, o->pos - o->fill, err);

	if (r == 0)
		o->fill = 0;
	write_behind(o, o->pos);
	return r;
}

int out_write(struct out *o, const void *data, size_t len, struct err *err)
{
	int r = 0;

	if (o->fill + len > OUT_BUFFER || (o->fill && len >= DIRECT_MIN))
		r = flush(o, err);
	if (r < 0)
		return r;
	if (len >= DIRECT_MIN) {
		r = write_all(o->fd, data, len, o->pos, err);
	} else {
		memcpy(o->buf + o->fill, data, len);
		o->fill += len;
	}
	o->pos += len;
	if (!o->fill)
		write_behind(o, o->pos);
	return r;
}

int out_seek(struct out *o, uint64_t pos, struct err *err)
{
	uint64_t gap = pos - o->pos;
	int r = 0;

	assert(pos >= o->pos);
	if (o->fill && gap <= GAP_MAX && o->fill + gap <= OUT_BUFFER) {
		memset(o->buf + o->fill, 0, (size_t)gap);
		o->fill += (size_t)gap;
	} else if (gap) {
		r = flush(o, err);
	}
	o->pos = pos;
	return r;
}

int out_finish(struct out *o, struct err *err)
{
	int r = flush(o, err);

	if (r == 0 && ftruncate(o->fd, (off_t)o->pos) < 0)
		return err_set(err, errno, "image file: set its length");
	return r;
}

int out_patch(struct out *o, uint64_t pos, const void *data, size_t len, struct err *err)
{
	return write_all(o->fd, data, len, pos, err);
}
