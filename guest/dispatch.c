/* SPDX-License-Identifier: Apache-2.0 */
/* What the host says while commands run. A mistake of the host is answered, never fatal. */
#include <errno.h>
#include <stdio.h>
#include <signal.h>
#include <time.h>

#include "guest/agent_internal.h"
#include "guest/exec.h"
#include "lib/clock.h"
#include "lib/num.h"

/* After core.shutdown, commands have this long to end by SIGTERM. */
#define TERM_GRACE_NS (200 * NS_PER_MS)

/* The type in the text is the host's own word, cut to a sensible length. */
static void answer_error(struct agent *a, const struct message *msg, const char *kind,
	const char *what, const char *detail)
{
	char text[ERR_MSG_MAX + 128];

	(void)snprintf(text, sizeof(text), "%s %.*s: %s", what,
		(int)MIN_OF(msg->name.len, (size_t)64), msg->name.s, detail);
	agent_send_error(a, msg->id, msg, kind, text);
}

static void begin_stop(struct agent *a)
{
	for (struct exec *e = a->execs; e; e = e->next)
		exec_signal(e, SIGTERM);
	a->stopping = true;
	a->stop_at_ns = clock_mono_ns() + TERM_GRACE_NS;
}

static void sync_clock(const struct clock_sync *sync)
{
	struct timespec ts = { sync->unix_time_nanos / NS_PER_S, sync->unix_time_nanos % NS_PER_S };
	struct timespec now;
	int64_t diff;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	diff = (int64_t)(sync->unix_time_nanos - (now.tv_sec * NS_PER_S + now.tv_nsec));
	if (diff > (int64_t)(100 * NS_PER_MS) || diff < -(int64_t)(100 * NS_PER_MS))
		(void)clock_settime(CLOCK_REALTIME, &ts);
}

static void start_exec(struct agent *a, const struct message *msg, const struct exec_request *req)
{
	if (msg->id == 0 || exec_find(a, msg->id))
		agent_send_error(a, msg->id, msg, "invalid_session",
			msg->id == 0 ? "id 0 cannot be a session" : "id is in use");
	else if (!a->stopping)
		exec_start(a, msg->id, req);
}

/* Messages for one session; those for ids that are not in use come too late and are ignored. */
static void session_message(
	struct agent *a, const struct message *msg, const union message_payload *p)
{
	struct exec *e = exec_find(a, msg->id);

	if (!e)
		return;
	if (msg->type == MSG_EXEC_STDIN)
		exec_stdin(a, e, &p->exec_data.data);
	else if (msg->type == MSG_EXEC_SIGNAL)
		exec_signal(e, p->exec_signal.signal);
	else
		exec_resize(e, &p->exec_resize);
}

static void dispatch(struct agent *a, const struct message *msg, const union message_payload *p)
{
	switch (msg->type) {
	case MSG_EXEC_REQUEST:
		start_exec(a, msg, &p->exec_request);
		break;
	case MSG_EXEC_STDIN:
	case MSG_EXEC_SIGNAL:
	case MSG_EXEC_RESIZE:
		session_message(a, msg, p);
		break;
	case MSG_CLOCK_SYNC:
		sync_clock(&p->clock_sync);
		break;
	case MSG_SHUTDOWN:
		begin_stop(a);
		break;
	case MSG_CLIENT_DISCONNECTED: /* its commands get signals of their own */
	case MSG_INIT_ACK:
		break;
	default:
		answer_error(a, msg, "unsupported_message_type", "message", "not for the guest");
	}
}

static bool flags_ok(struct agent *a, const struct message *msg)
{
	uint8_t want = message_info(msg->type)->flags;
	char detail[32];

	if (msg->flags == want)
		return true;
	(void)snprintf(detail, sizeof(detail), "got %u, expected %u", msg->flags, want);
	answer_error(a, msg, "invalid_flags", "invalid flags for", detail);
	return false;
}

static void handle_frame(struct agent *a, const struct frame *frame)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	union message_payload payload;
	struct err err = ERR_INIT;
	struct message msg;

	if (message_open(frame, &pool, &msg, &err) < 0) {
		agent_send_error(a, frame->id, NULL, "malformed_message", err.msg);
		return;
	}
	if (msg.type == MSG_TYPE_COUNT) {
		answer_error(a, &msg, "unsupported_message_type", "message", "unknown type");
		return;
	}
	if (!flags_ok(a, &msg))
		return;
	if (message_decode(&msg, &pool, &payload, &err) < 0) {
		answer_error(a, &msg, "invalid_payload", "decode payload for", err.msg);
		return;
	}
	dispatch(a, &msg, &payload);
}

void agent_handle_frames(struct agent *a)
{
	struct frame frame;
	int ret;

	a->frames_left = true;
	while (!a->stopping && a->out.len < AGENT_OUT_HIGH) {
		ret = frame_reader_next(&a->in, &frame);
		if (ret == 0) {
			a->frames_left = false;
			return;
		}
		if (ret > 0)
			handle_frame(a, &frame);
		else
			agent_send_error(a, 0, NULL, "malformed_message",
				ret == -EMSGSIZE ? "frame above the limit"
						 : "frame without a header");
	}
}
