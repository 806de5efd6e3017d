/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "guest/serve.h"
#include "lib/cleanup.h"

/* A test that hangs fails with a message instead of by the runner's limit. */
#define TIMEOUT_S 30

int peer_spawn(pid_t *ret_pid)
{
	struct err err = ERR_INIT;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	*ret_pid = fork();
	if (*ret_pid == 0) {
		(void)close(fds[0]);
		_exit(serve_stream(fds[1], &err) < 0);
	}
	(void)close(fds[1]);
	return *ret_pid < 0 ? -1 : fds[0];
}

void peer_send_raw(struct peer *p, const void *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(p->fd, data, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		data = (const char *)data + n;
		len -= n;
	}
}

void peer_send(struct peer *p, uint32_t id, enum message_type type, const void *payload)
{
	cleanup_buf struct buf out = { 0 };

	assert_int_equal(message_append(&out, id, type, payload), 0);
	peer_send_raw(p, buf_head(&out), out.len);
}

void peer_stdin(struct peer *p, uint32_t id, const void *data, size_t len)
{
	struct exec_data payload = { { data, len } };

	peer_send(p, id, MSG_EXEC_STDIN, &payload);
}

void peer_exec(struct peer *p, uint32_t id, const char *script)
{
	struct text args[] = { text_of("-c"), text_of(script) };
	struct exec_request req = { .cmd = text_of("sh"), .args = { args, 2 } };

	peer_send(p, id, MSG_EXEC_REQUEST, &req);
}

static void fill(struct peer *p)
{
	uint8_t *room;
	size_t len;
	ssize_t n;

	assert_int_equal(frame_reader_space(&p->in, &room, &len), 0);
	n = recv(p->fd, room, len, 0);
	if (n <= 0)
		fail_msg("the agent %s", n == 0 ? "closed its end" : "did not answer in time");
	frame_reader_commit(&p->in, n);
}

enum message_type peer_next(struct peer *p)
{
	struct err err = ERR_INIT;
	struct frame frame;
	int ret;

	cbor_pool_release(&p->pool);
	while ((ret = frame_reader_next(&p->in, &frame)) == 0)
		fill(p);
	assert_int_equal(ret, 1);
	if (message_open(&frame, &p->pool, &p->msg, &err) < 0 ||
		message_decode(&p->msg, &p->pool, &p->payload, &err) < 0)
		fail_msg("undecodable frame: %s", err.msg);
	assert_int_equal(p->msg.flags, message_info(p->msg.type)->flags);
	return p->msg.type;
}

void peer_expect(struct peer *p, uint32_t id, enum message_type type)
{
	enum message_type got = peer_next(p);

	if (got != type || p->msg.id != id)
		fail_msg("got %s on %u, expected %s on %u%s%s", message_info(got)->name,
			(unsigned)p->msg.id, message_info(type)->name, (unsigned)id,
			got == MSG_ERROR ? ": " : "",
			got == MSG_ERROR ? p->payload.error.message.s : "");
}

void peer_open(struct peer *p, const struct bootstrap *boot)
{
	struct bootstrap least = { .security_profile = text_of("default"), .stdin_ack = true };
	struct timeval tv = { TIMEOUT_S, 0 };

	*p = (struct peer){ 0 };
	p->fd = peer_spawn(&p->pid);
	assert_true(p->fd >= 0);
	(void)setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	(void)setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	peer_send(p, 0, MSG_BOOTSTRAP, boot ? boot : &least);
	peer_send(p, 0, MSG_INIT_ACK, NULL);
	peer_expect(p, 0, MSG_INIT_RESOLVED);
	peer_expect(p, 0, MSG_READY);
}

void peer_close(struct peer *p)
{
	int status;

	peer_send(p, 0, MSG_SHUTDOWN, NULL);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close_fd(&p->fd);
	frame_reader_release(&p->in);
	cbor_pool_release(&p->pool);
}

int peer_finish(struct peer *p, uint32_t id, struct buf *out)
{
	for (;;) {
		enum message_type type = peer_next(p);
		const struct bytes *data = &p->payload.exec_data.data;

		assert_int_equal(p->msg.id, id);
		if (type == MSG_EXEC_EXITED)
			return p->payload.exec_exited.code;
		if (type == MSG_EXEC_STDIN_ACK || type == MSG_EXEC_STARTED)
			continue;
		if (type != MSG_EXEC_STDOUT && type != MSG_EXEC_STDERR)
			fail_msg("unexpected %s", message_info(type)->name);
		assert_int_equal(buf_append(out, data->data, data->len), 0);
	}
}
