/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "lib/num.h"
#include "protocol/protocol.h"

#define READ_AHEAD 65536

void frame_reader_release(struct frame_reader *r)
{
	buf_release(&r->in);
	*r = (struct frame_reader){ 0 };
}

/* Drop the frame handed out last, and memory that only one large frame needed. */
static void drop_taken(struct frame_reader *r)
{
	buf_consume(&r->in, r->taken);
	r->taken = 0;
	if (r->in.len == 0 && r->in.cap > 4 * READ_AHEAD)
		buf_release(&r->in);
}

static void drop_skipped(struct frame_reader *r)
{
	size_t n = MIN_OF(r->skip, r->in.len);

	buf_consume(&r->in, n);
	r->skip -= n;
}

int frame_reader_space(struct frame_reader *r, uint8_t **ret, size_t *ret_room)
{
	size_t room;
	int res;

	drop_taken(r);
	r->in.max = FRAME_WIRE_MAX;
	/* A full buffer would hold a whole frame, which frame_reader_next() must have taken. */
	if (r->in.len >= FRAME_WIRE_MAX)
		return -ENOBUFS;
	room = MIN_OF((size_t)READ_AHEAD, FRAME_WIRE_MAX - r->in.len);
	res = buf_reserve(&r->in, room, ret);
	if (res < 0)
		return res;
	*ret_room = room;
	return 0;
}

void frame_reader_commit(struct frame_reader *r, size_t len)
{
	buf_commit(&r->in, len);
	drop_skipped(r);
}

int frame_reader_next(struct frame_reader *r, struct frame *ret_frame)
{
	const uint8_t *p;
	uint32_t len;

	drop_taken(r);
	drop_skipped(r);
	if (r->in.len < FRAME_PREFIX)
		return 0;
	p = buf_head(&r->in);
	len = load_be32(p);
	if (len < FRAME_LEN_MIN || len > FRAME_LEN_MAX) {
		r->skip = FRAME_PREFIX + (uint64_t)len;
		drop_skipped(r);
		return len < FRAME_LEN_MIN ? -EBADMSG : -EMSGSIZE;
	}
	if (r->in.len - FRAME_PREFIX < len)
		return 0;
	r->taken = FRAME_PREFIX + len;
	*ret_frame = (struct frame){
		.id = load_be32(p + FRAME_PREFIX),
		.flags = p[FRAME_PREFIX + 4],
		.body = p + FRAME_HEADER,
		.body_len = len - FRAME_LEN_MIN,
	};
	return 1;
}
