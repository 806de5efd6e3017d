/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames, envelopes and payloads from a stranger. The first byte chooses how the rest is cut into
 * reads. What decodes must encode, and the encoding must decode again.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "protocol/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_round_trip(const struct message *msg, const void *payload)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	cleanup_buf struct buf out = { 0 };
	union message_payload again;
	struct message msg2;
	struct frame frame;

	if (message_append(&out, msg->id, msg->type, payload) < 0)
		return;
	frame = (struct frame){ msg->id, 0, buf_head(&out) + FRAME_HEADER, out.len - FRAME_HEADER };
	if (message_open(&frame, &pool, &msg2, NULL) < 0 || msg2.type != msg->type)
		abort();
	if (message_decode(&msg2, &pool, &again, NULL) < 0)
		abort();
}

static void take(const struct frame *frame)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	union message_payload payload;
	struct err err = ERR_INIT;
	struct message msg;

	if (message_open(frame, &pool, &msg, &err) < 0 || msg.type == MSG_TYPE_COUNT)
		return;
	if (message_decode(&msg, &pool, &payload, &err) == 0)
		check_round_trip(&msg, &payload);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct frame_reader r = { 0 };
	struct frame frame;
	size_t step, room;
	uint8_t *dst;
	int ret;

	step = len > 0 ? data[0] + 1 : 1;
	for (size_t at = 1; at < len; at += room) {
		if (frame_reader_space(&r, &dst, &room) < 0)
			abort();
		room = MIN_OF(MIN_OF(room, step), len - at);
		memcpy(dst, data + at, room);
		frame_reader_commit(&r, room);
		while ((ret = frame_reader_next(&r, &frame)) != 0) {
			if (ret == 1)
				take(&frame);
		}
	}
	frame_reader_release(&r);
	return 0;
}
