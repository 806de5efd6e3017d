/* SPDX-License-Identifier: Apache-2.0 */
/* Taking requests apart and putting replies together. */
#include <errno.h>
#include <string.h>

#include "fs/fs_internal.h"

ssize_t req_string(struct fs_req *r, char *dst, size_t size)
{
	size_t left = r->in_len - r->pos;
	size_t got = iov_read(r->in, r->n_in, r->pos, dst, MIN_OF(left, size));
	size_t len = strnlen(dst, got);

	if (len == got)
		return got == size ? -ENAMETOOLONG : -EINVAL;
	r->pos += len + 1;
	return (ssize_t)len;
}

int req_name(struct fs_req *r, struct fs_name *ret)
{
	ssize_t len = req_string(r, ret->s, sizeof(ret->s));

	if (len < 0)
		return (int)len;
	if (len == 0)
		return -EINVAL;
	if (strchr(ret->s, '/') || !strcmp(ret->s, ".") || !strcmp(ret->s, ".."))
		return -EPERM;
	return 0;
}

size_t req_room(const struct fs_req *r)
{
	return r->out_len - sizeof(struct fuse_out_header);
}

ssize_t req_reply(struct fs_req *r, const void *data, size_t len)
{
	if (len > req_room(r))
		return -ERANGE;
	if (iov_write(r->out, r->n_out, sizeof(struct fuse_out_header), data, len) != len)
		return -EFAULT;
	return (ssize_t)len;
}
