/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every event handler changes state and then calls settle(), which makes watches and timers fit the
 * new state. Only settle() ends the session, as its last act: the session may be freed in there.
 */
#include "runtime/session.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "runtime/session_io.h"

/* The one command's session id; 0 is for control traffic. */
#define EXEC_ID 1

/* No more is read from the guest while this much output waits, nor from stdin while this much waits
 * for the guest. */
#define OUTPUT_HIGH   KIB(256)
#define TO_GUEST_HIGH KIB(256)

/* A guest cannot make us keep more than this in flight. */
#define WINDOW_MAX MIB(1)

/* How long core.shutdown may take to leave; a guest that does not read is ended by other means. */
#define FLUSH_TIMEOUT_NS (500 * NS_PER_MS)

#define END_OF_FILE_CHAR "\x04"

enum session_state { WAITING, RUNNING, CLOSING, DONE };

/*
 * struct session
 * @request:    the encoded exec.request, until it is sent
 * @cmd:        for messages
 * @window:     0: the guest knows no window
 * @in_flight:  stdin sent, not yet acknowledged
 * @last_byte:  of stdin sent; a terminal's end of file depends on it
 * @signals:    bit per signal that came before the request was sent
 * @resized:    rows and cols changed before the request was sent
 * @agent_gone: the guest hung up, or is not to be talked to any more
 * @next_patch: there may be more to send before core.init.ack
 * @resolved:   core.init.resolved was seen; for the message of the deadline
 */
struct session {
	struct loop *loop;
	session_done_fn *done;
	void (*ready)(void *ctx);
	void *ctx;
	enum session_state state;
	int exit_code;
	struct err err;

	int agent_fd;
	struct loop_watch *agent_watch;
	struct loop_timer *deadline;
	struct frame_reader in;
	struct buf to_guest;
	struct buf request;
	bool agent_gone, resolved;
	uint32_t ready_timeout_ms;
	int (*next_patch)(void *ctx, struct patch *ret, struct err *err);
	void *patch_ctx;

	char cmd[64];
	bool tty;
	struct source source;
	bool stdin_done;
	uint64_t window, in_flight;
	uint8_t last_byte;
	struct sink out, err_out;
	bool output_seen;
	uint32_t signals;
	bool resized;
	struct exec_resize size;
	int ignored_logged, stdin_logged;
};

static void settle(struct session *s);

/* ---- ending ---- */

/* From here on only what is on its way already moves. The first reason stands. */
static void close_session(struct session *s, int exit_code)
{
	if (s->state >= CLOSING)
		return;
	s->exit_code = exit_code;
	s->state = CLOSING;
	source_want(&s->source, false);
	if (!s->agent_gone)
		(void)message_append(&s->to_guest, 0, MSG_SHUTDOWN, NULL);
	loop_timer_arm(s->deadline, clock_mono_ns() + FLUSH_TIMEOUT_NS);
}

static void __attribute__((format(printf, 4, 5)))
fail_as(struct session *s, int code, int exit_code, const char *fmt, ...)
{
	char text[ERR_MSG_MAX];
	va_list ap;

	if (s->state >= CLOSING)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)err_msg(&s->err, code, "%s", text);
	close_session(s, exit_code);
}

#define fail(s, exit_code, ...) fail_as(s, EIO, exit_code, __VA_ARGS__)

/* The guest's words on the user's terminal: no control characters, a line at most. */
static void printable(struct text t, char *dst, size_t max)
{
	size_t n = MIN_OF(t.len, max - 1);

	for (size_t i = 0; i < n; i++) {
		uint8_t c = t.s[i];
		/* UTF-8 was checked, so this pair can only be a C1 control character. */
		bool c1 = i > 0 && (uint8_t)t.s[i - 1] == 0xc2 && c < 0xa0;

		dst[i] = c < 0x20 || c == 0x7f || c1 ? '?' : t.s[i];
		if (c1)
			dst[i - 1] = '?';
	}
	dst[n] = '\0';
}

static void agent_lost(struct session *s, const char *how)
{
	s->agent_gone = true;
	fail_as(s, ECONNRESET, SESSION_EXIT_FAILURE, "the guest ended before %s (%s)",
		s->state == WAITING ? "it was ready" : "the command did", how);
}

static bool is_over(const struct session *s)
{
	return s->state == CLOSING && !session_has_output(s) &&
	       (s->agent_gone || s->to_guest.len == 0);
}

static void stop_watching(struct session *s)
{
	loop_remove(&s->agent_watch);
	loop_timer_remove(&s->deadline);
	sink_release(&s->out);
	sink_release(&s->err_out);
	source_release(&s->source);
}

static void finish(struct session *s)
{
	struct err err = s->err;

	stop_watching(s);
	s->state = DONE;
	s->done(s->ctx, s->exit_code, err.code ? &err : NULL);
}

static void on_deadline(void *ctx)
{
	struct session *s = ctx;

	if (s->state == WAITING)
		fail_as(s, ETIMEDOUT, SESSION_EXIT_FAILURE,
			"the guest was not ready within %u ms: %s", s->ready_timeout_ms,
			s->resolved ? "it has a root file system, but did not finish starting"
				    : "nothing was heard from its agent");
	else
		s->agent_gone = true;
	settle(s);
}

/* ---- stdin ---- */

/* A terminal takes the end of file as a character: twice, if the line before it was not ended. */
static void send_end_of_stdin(struct session *s)
{
	const char *eof =
		s->last_byte == '\n' ? END_OF_FILE_CHAR : END_OF_FILE_CHAR END_OF_FILE_CHAR;

	s->stdin_done = true;
	(void)message_append_data(
		&s->to_guest, EXEC_ID, MSG_EXEC_STDIN, eof, s->tty ? strlen(eof) : 0);
}

static size_t stdin_room(const struct session *s)
{
	if (s->state != RUNNING || s->stdin_done || s->to_guest.len >= TO_GUEST_HIGH)
		return 0;
	if (s->window == 0)
		return STREAM_CHUNK;
	if (s->in_flight >= s->window)
		return 0;
	return MIN_OF((uint64_t)STREAM_CHUNK, s->window - s->in_flight);
}

static void read_stdin(struct session *s)
{
	uint8_t data[STREAM_CHUNK];
	size_t room = stdin_room(s);
	ssize_t n;

	if (room == 0)
		return;
	n = source_read(&s->source, data, room);
	if (n == -EAGAIN)
		return;
	if (n < 0)
		log_warn("read standard input: %s", strerror((int)-n));
	if (n <= 0) {
		send_end_of_stdin(s);
		return;
	}
	s->in_flight += n;
	s->last_byte = data[n - 1];
	(void)message_append_data(&s->to_guest, EXEC_ID, MSG_EXEC_STDIN, data, n);
}

static void on_stdin(void *ctx)
{
	struct session *s = ctx;

	read_stdin(s);
	settle(s);
}

static void stdin_acked(struct session *s, uint32_t bytes)
{
	s->in_flight -= MIN_OF(s->in_flight, (uint64_t)bytes);
}

/* The command closed its stdin, as `head` does: no reason to say anything. */
static void stdin_failed(struct session *s, const struct exec_stdin_error *e)
{
	char text[128];

	s->stdin_done = true;
	if (e->error.set && e->error.v == EPIPE)
		return;
	printable(e->message, text, sizeof(text));
	log_once(s->stdin_logged, LOG_WARN, "the command's standard input failed: %s", text);
}

/* ---- frames of the guest ---- */

static void send_exec_signal(struct session *s, int sig)
{
	struct exec_signal payload = { sig };

	(void)message_append(&s->to_guest, EXEC_ID, MSG_EXEC_SIGNAL, &payload);
}

static void send_clock(struct session *s)
{
	struct timespec ts;
	struct clock_sync sync;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	sync.unix_time_nanos = (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
	(void)message_append(&s->to_guest, 0, MSG_CLOCK_SYNC, &sync);
}

static void send_request(struct session *s)
{
	if (buf_append(&s->to_guest, buf_head(&s->request), s->request.len) < 0) {
		fail(s, SESSION_EXIT_FAILURE, "out of memory");
		return;
	}
	buf_release(&s->request);
	for (int sig = 1; sig < 32; sig++) {
		if (s->signals & 1u << sig)
			send_exec_signal(s, sig);
	}
	if (s->resized)
		(void)message_append(&s->to_guest, EXEC_ID, MSG_EXEC_RESIZE, &s->size);
}

/* When init started, from the guest's clock: how long ago it says that was. Foreign numbers. */
static void log_init_phase(const struct ready *ready, uint64_t now)
{
	uint64_t ago = ready->ready_time_ns - ready->boot_time_ns;

	if (ready->ready_time_ns >= ready->boot_time_ns && ago < now)
		log_phase_at("init-started", now - ago);
}

static void take_ready(struct session *s, const struct ready *ready)
{
	log_init_phase(ready, clock_mono_ns());
	log_phase("agent-ready");
	log_debug("guest ready: booted %llu ms, initialised %llu ms",
		(unsigned long long)(ready->ready_time_ns / NS_PER_MS),
		(unsigned long long)(ready->init_time_ns / NS_PER_MS));
	loop_timer_disarm(s->deadline);
	s->window = MIN_OF((uint64_t)ready->stdin_window, WINDOW_MAX);
	/* Still waiting: signals and sizes that this brings up go behind the request. */
	if (s->ready)
		s->ready(s->ctx);
	s->state = RUNNING;
	send_clock(s);
	send_request(s);
}

static void take_waiting(struct session *s, enum message_type type, const union message_payload *p)
{
	char text[256];

	if (type == MSG_INIT_RESOLVED) {
		s->resolved = true;
	} else if (type == MSG_READY) {
		take_ready(s, &p->ready);
	} else if (type == MSG_ERROR) {
		printable(p->error.message, text, sizeof(text));
		fail(s, SESSION_EXIT_FAILURE, "the guest could not start: %s", text);
	}
}

static void take_output(struct session *s, struct sink *sink, const struct bytes *data)
{
	if (!s->output_seen)
		log_phase("first-output");
	s->output_seen = true;
	sink_write(sink, data->data, data->len);
}

static void take_exited(struct session *s, const struct exec_exited *e)
{
	log_phase("exited");
	if (e->code >= 0 && e->code <= 255)
		close_session(s, e->code);
	else if (e->signal >= 1 && e->signal <= 64)
		close_session(s, SESSION_EXIT_SIGNAL_BASE + (int)e->signal);
	else
		close_session(s, 255);
}

static void take_failed(struct session *s, const struct exec_failed *f)
{
	char text[384];
	int code = SESSION_EXIT_FAILURE;

	if (text_is(f->kind, "not_found"))
		code = SESSION_EXIT_NOT_FOUND;
	else if (text_is(f->kind, "permission_denied") || text_is(f->kind, "not_executable"))
		code = SESSION_EXIT_NOT_EXECUTABLE;
	printable(f->message, text, sizeof(text));
	log_phase("exited");
	fail(s, code, "cannot run '%s': %s", s->cmd, text);
}

static void take_error(struct session *s, const struct message *msg, const struct core_error *e)
{
	char text[256];

	printable(e->message, text, sizeof(text));
	if (msg->id == EXEC_ID)
		fail(s, SESSION_EXIT_FAILURE, "the guest refused a message: %s", text);
	else
		log_once(s->ignored_logged, LOG_WARN, "the guest complains: %s", text);
}

static void take_running(
	struct session *s, const struct message *msg, const union message_payload *p)
{
	if (msg->type == MSG_ERROR) {
		take_error(s, msg, &p->error);
		return;
	}
	if (msg->id != EXEC_ID) {
		log_once(
			s->ignored_logged, LOG_WARN, "frame of the guest on an unknown id ignored");
		return;
	}
	switch (msg->type) {
	case MSG_EXEC_STDOUT:
		take_output(s, &s->out, &p->exec_data.data);
		break;
	case MSG_EXEC_STDERR:
		take_output(s, &s->err_out, &p->exec_data.data);
		break;
	case MSG_EXEC_STDIN_ACK:
		stdin_acked(s, p->exec_stdin_ack.bytes);
		break;
	case MSG_EXEC_STDIN_ERROR:
		stdin_failed(s, &p->exec_stdin_error);
		break;
	case MSG_EXEC_EXITED:
		take_exited(s, &p->exec_exited);
		break;
	case MSG_EXEC_FAILED:
		take_failed(s, &p->exec_failed);
		break;
	default: /* exec.started, and what we need not know */
		break;
	}
}

static void take_frame(struct session *s, const struct frame *frame)
{
	cleanup_cbor_pool struct cbor_pool pool = { 0 };
	union message_payload payload;
	struct err err = ERR_INIT;
	struct message msg;
	int ret = message_open(frame, &pool, &msg, &err);

	/* A newer guest may say things we do not know. */
	if (ret == 0 && msg.type == MSG_TYPE_COUNT)
		return;
	if (ret == 0)
		ret = message_decode(&msg, &pool, &payload, &err);
	if (ret < 0) {
		fail(s, SESSION_EXIT_FAILURE, "the guest broke the agent protocol: %s", err.msg);
		return;
	}
	if (s->state == WAITING)
		take_waiting(s, msg.type, &payload);
	else
		take_running(s, &msg, &payload);
}

static bool output_has_room(const struct session *s)
{
	return s->out.pending.len + s->err_out.pending.len < OUTPUT_HIGH;
}

/* Take what is buffered while its output can go somewhere. Return: true if more bytes are needed.
 */
static bool take_frames(struct session *s)
{
	struct frame frame;
	int ret;

	while (s->state < CLOSING && output_has_room(s)) {
		ret = frame_reader_next(&s->in, &frame);
		if (ret == 0)
			return true;
		if (ret < 0)
			fail(s, SESSION_EXIT_FAILURE,
				"the guest broke the agent protocol: frame of impossible length");
		else
			take_frame(s, &frame);
	}
	return false;
}

/* ---- the agent's socket ---- */

static void flush_to_guest(struct session *s)
{
	while (s->to_guest.len > 0 && !s->agent_gone) {
		ssize_t n = send(s->agent_fd, buf_head(&s->to_guest), s->to_guest.len,
			MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			/* What it said last may explain it, and is still to be read. */
			buf_consume(&s->to_guest, s->to_guest.len);
		else
			buf_consume(&s->to_guest, n);
	}
}

static void read_from_guest(struct session *s)
{
	uint8_t *room;
	size_t len;
	ssize_t n;

	if (frame_reader_space(&s->in, &room, &len) < 0) {
		fail(s, SESSION_EXIT_FAILURE, "out of memory");
		return;
	}
	n = recv(s->agent_fd, room, len, MSG_DONTWAIT);
	if (n > 0)
		frame_reader_commit(&s->in, n);
	else if (n == 0)
		agent_lost(s, "it closed the connection");
	else if (errno != EAGAIN && errno != EINTR)
		agent_lost(s, strerror(errno));
}

static void on_agent(void *ctx, int fd, uint32_t events)
{
	struct session *s = ctx;

	/* A hang-up is told unasked; what came before it waits until the output has room. */
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && s->state < CLOSING && output_has_room(s))
		read_from_guest(s);
	settle(s);
}

/* Watched for nothing, a hung-up socket would still wake the loop: then not at all. */
static void watch_agent(struct session *s, uint32_t events)
{
	struct err err = ERR_INIT;

	if (events == 0) {
		loop_remove(&s->agent_watch);
		return;
	}
	if (s->agent_watch)
		loop_modify(s->agent_watch, events);
	else if (loop_add(s->loop, s->agent_fd, events, on_agent, s, &s->agent_watch, &err) < 0)
		agent_lost(s, err.msg);
}

static bool output_failed(struct session *s)
{
	/* Whoever read our output has seen enough: that is no failure (D8). */
	if (s->out.error == EPIPE)
		close_session(s, 0);
	else if (s->out.error)
		fail(s, SESSION_EXIT_FAILURE, "write standard output: %s", strerror(s->out.error));
	return s->out.error;
}

/* ---- patches ---- */

/* All are sent: the guest can go on. */
static void end_patches(struct session *s)
{
	const struct patch end = { .op = text_of("end") };

	s->next_patch = NULL;
	(void)message_append(&s->to_guest, 0, MSG_PATCH, &end);
	(void)message_append(&s->to_guest, 0, MSG_INIT_ACK, NULL);
}

static void send_patches(struct session *s)
{
	while (s->next_patch && s->state == WAITING && s->to_guest.len < TO_GUEST_HIGH) {
		struct err err = ERR_INIT;
		struct patch patch = { 0 };
		int ret = s->next_patch(s->patch_ctx, &patch, &err);

		if (ret == 0)
			end_patches(s);
		else if (ret > 0)
			ret = message_append(&s->to_guest, 0, MSG_PATCH, &patch);
		if (ret < 0)
			fail(s, SESSION_EXIT_FAILURE, "%s",
				err.code ? err.msg : "a patch is too large for the guest");
		/* However much there is, it only has to go on. */
		if (ret >= 0)
			loop_timer_arm(
				s->deadline, clock_mono_ns() + s->ready_timeout_ms * NS_PER_MS);
	}
}

static void settle(struct session *s)
{
	uint32_t events = 0;

	if (take_frames(s))
		events |= EPOLLIN;
	if (output_failed(s))
		events = 0;
	send_patches(s);
	flush_to_guest(s);
	if ((s->to_guest.len > 0 || (s->next_patch && s->state == WAITING)) && !s->agent_gone)
		events |= EPOLLOUT;
	watch_agent(s, events);
	source_want(&s->source, stdin_room(s) > 0);
	if (is_over(s))
		finish(s);
}

static void on_sink_changed(void *ctx)
{
	settle(ctx);
}

/* ---- the interface ---- */

static int encode(struct session *s, const struct session_cfg *cfg, struct err *err)
{
	struct bootstrap boot = cfg->boot;
	struct exec_request exec = cfg->exec;
	int ret;

	if (!boot.security_profile.s)
		boot.security_profile = text_of("default");
	boot.stdin_ack = true;
	boot.patches = cfg->next_patch;
	exec.main = true;
	ret = message_append(&s->to_guest, 0, MSG_BOOTSTRAP, &boot);
	/* Nothing of ours depends on the answer, so it need not wait for the question. */
	if (ret == 0 && !boot.patches)
		ret = message_append(&s->to_guest, 0, MSG_INIT_ACK, NULL);
	if (ret == 0)
		ret = message_append(&s->request, EXEC_ID, MSG_EXEC_REQUEST, &exec);
	if (ret == -EMSGSIZE)
		return err_msg(err, E2BIG, "command line and environment are too long");
	return ret < 0 ? err_set(err, ret, "encode the command") : 0;
}

static int open_streams(struct session *s, const struct session_cfg *cfg, struct err *err)
{
	int ret = sink_init(&s->out, s->loop, cfg->stdout_fd, on_sink_changed, s, err);

	if (ret == 0)
		ret = sink_init(&s->err_out, s->loop, cfg->stderr_fd, on_sink_changed, s, err);
	if (ret == 0)
		ret = source_init(&s->source, s->loop, cfg->stdin_fd, on_stdin, s, err);
	if (ret == 0)
		ret = loop_timer_new(s->loop, on_deadline, s, &s->deadline, err);
	if (ret == 0)
		ret = loop_add(s->loop, s->agent_fd, EPOLLIN | EPOLLOUT, on_agent, s,
			&s->agent_watch, err);
	return ret;
}

int session_new(struct loop *loop, const struct session_cfg *cfg, session_done_fn *done, void *ctx,
	struct session **ret_session, struct err *err)
{
	struct session *s;
	int ret;

	if (cfg->exec.cmd.len == 0)
		return err_msg(err, EINVAL, "no command given");
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, ENOMEM, "start a session");
	s->loop = loop;
	s->done = done;
	s->ready = cfg->ready;
	s->ctx = ctx;
	s->next_patch = cfg->next_patch;
	s->patch_ctx = cfg->patch_ctx;
	s->agent_fd = cfg->agent_fd;
	s->tty = cfg->exec.tty;
	s->last_byte = '\n';
	s->out.stream = s->err_out.stream = s->source.stream = HOST_STREAM_INIT;
	s->ready_timeout_ms =
		cfg->ready_timeout_ms ? cfg->ready_timeout_ms : SESSION_READY_TIMEOUT_MS;
	printable(cfg->exec.cmd, s->cmd, sizeof(s->cmd));
	ret = encode(s, cfg, err);
	if (ret == 0)
		ret = open_streams(s, cfg, err);
	if (ret < 0) {
		session_free(s);
		return ret;
	}
	loop_timer_arm(s->deadline, clock_mono_ns() + s->ready_timeout_ms * NS_PER_MS);
	*ret_session = s;
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	stop_watching(s);
	frame_reader_release(&s->in);
	buf_release(&s->to_guest);
	buf_release(&s->request);
	free(s);
}

/* Wake up settle() from outside of an event: never directly, it may end the session. */
static void ask_to_send(struct session *s)
{
	if (s->agent_watch)
		loop_modify(s->agent_watch, EPOLLIN | EPOLLOUT);
	else
		watch_agent(s, EPOLLOUT);
}

void session_signal(struct session *s, int sig)
{
	if (sig < 1 || sig > 31)
		return;
	if (s->state == WAITING) {
		s->signals |= 1u << sig;
	} else if (s->state == RUNNING) {
		send_exec_signal(s, sig);
		ask_to_send(s);
	}
}

void session_resize(struct session *s, uint16_t rows, uint16_t cols)
{
	s->size = (struct exec_resize){ rows, cols };
	if (!s->tty)
		return;
	if (s->state == WAITING) {
		s->resized = true;
	} else if (s->state == RUNNING) {
		(void)message_append(&s->to_guest, EXEC_ID, MSG_EXEC_RESIZE, &s->size);
		ask_to_send(s);
	}
}

bool session_has_output(const struct session *s)
{
	return s->out.pending.len > 0 || s->err_out.pending.len > 0;
}

bool session_ready(const struct session *s)
{
	return s->state > WAITING && s->request.len == 0;
}
