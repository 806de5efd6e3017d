/* SPDX-License-Identifier: Apache-2.0 */
#include "guest/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "guest/spawn.h"
#include "lib/cleanup.h"
#include "lib/num.h"

/* Acknowledge in steps of this much: a host with a full window always has one coming. */
#define ACK_STEP (STDIN_WINDOW / 4)

/* What may wait in a command's queue before a frame is one too many. Hosts that know nothing of the
 * window get more, since they have no way to hold back. */
#define QUEUE_WITHOUT_WINDOW MIB(4)

#define REAP_BUDGET 64

/* Reads per stream that empty a pipe of the largest size, whoever keeps filling it */
#define REST_READS (MIB(1) / STREAM_CHUNK)

struct exec *exec_find(struct agent *a, uint32_t id)
{
	struct exec *e = a->execs;

	while (e && e->id != id)
		e = e->next;
	return e;
}

static void exec_free(struct exec *e)
{
	close_fd(&e->child.in_fd);
	close_fd(&e->child.out_fd[0]);
	close_fd(&e->child.out_fd[1]);
	buf_release(&e->stdin_q);
	free(e);
}

static void send_failed(struct agent *a, uint32_t id, const struct failure *f)
{
	struct exec_failed failed = {
		.kind = text_of(f->kind),
		.error = { f->error != 0, f->error },
		.errno_name = text_of(failure_errno_name(f->error)),
		.message = text_of(f->message),
		.stage = text_of(f->stage),
	};

	(void)agent_send(a, id, MSG_EXEC_FAILED, &failed);
}

void exec_start(struct agent *a, uint32_t id, const struct exec_request *req)
{
	struct exec_started started;
	struct failure failure;
	struct exec *e = calloc(1, sizeof(*e));

	if (!e) {
		failure_set_errno(&failure, NULL, ENOMEM, "spawn \"%s\"", req->cmd.s);
		send_failed(a, id, &failure);
		return;
	}
	if (spawn_command(req, &a->defaults, &e->child, &failure) < 0) {
		free(e);
		send_failed(a, id, &failure);
		return;
	}
	e->id = id;
	e->tty = req->tty;
	e->main = req->main;
	e->next = a->execs;
	a->execs = e;
	started.pid = e->child.pid;
	(void)agent_send(a, id, MSG_EXEC_STARTED, &started);
}

static void acknowledge(struct agent *a, struct exec *e, size_t len)
{
	struct exec_stdin_ack ack;

	e->unacked += len;
	if (!a->boot.stdin_ack || e->unacked < ACK_STEP)
		return;
	ack.bytes = e->unacked;
	e->unacked = 0;
	(void)agent_send(a, e->id, MSG_EXEC_STDIN_ACK, &ack);
}

static void close_stdin(struct agent *a, struct exec *e)
{
	size_t dropped = e->stdin_q.len;

	close_fd(&e->child.in_fd);
	buf_release(&e->stdin_q);
	e->stdin_dead = true;
	acknowledge(a, e, dropped);
}

static void send_stdin_error(struct agent *a, struct exec *e, int error)
{
	char text[128];
	struct exec_stdin_error payload = {
		.error = { true, error },
		.errno_name = text_of(failure_stdin_errno_name(error)),
	};

	(void)snprintf(text, sizeof(text), "io error: %s (os error %d)", strerror(error), error);
	payload.message = text_of(text);
	(void)agent_send(a, e->id, MSG_EXEC_STDIN_ERROR, &payload);
}

static void stdin_failed(struct agent *a, struct exec *e, int error)
{
	send_stdin_error(a, e, error);
	close_stdin(a, e);
}

/* Write what the command takes now. Return: bytes; -errno for a broken stdin. */
static ssize_t write_some(struct exec *e, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = write(e->child.in_fd, data + done, len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -errno;
		done += n;
	}
	return done;
}

/* Let the command take from its queue; at the end of it, end of file if that was asked for. */
static void drain_stdin(struct agent *a, struct exec *e)
{
	ssize_t n = write_some(e, buf_head(&e->stdin_q), e->stdin_q.len);

	if (n < 0) {
		stdin_failed(a, e, -n);
		return;
	}
	buf_consume(&e->stdin_q, n);
	acknowledge(a, e, n);
	if (e->stdin_q.len == 0 && e->stdin_eof)
		close_stdin(a, e);
}

/* The host overran the window: report it, and end stdin behind what is queued. */
static void stdin_overrun(struct agent *a, struct exec *e)
{
	send_stdin_error(a, e, ENOBUFS);
	e->stdin_eof = true;
	if (e->stdin_q.len == 0)
		close_stdin(a, e);
}

/* With nothing queued before it, what the command takes at once need not go through the queue. */
static void give_stdin(struct agent *a, struct exec *e, const struct bytes *data)
{
	ssize_t n = e->stdin_q.len > 0 ? 0 : write_some(e, data->data, data->len);

	if (n < 0) {
		acknowledge(a, e, data->len);
		stdin_failed(a, e, -n);
		return;
	}
	acknowledge(a, e, n);
	if (buf_append(&e->stdin_q, data->data + n, data->len - n) < 0) {
		stdin_overrun(a, e);
		acknowledge(a, e, data->len - n);
	}
}

static void stdin_end(struct agent *a, struct exec *e)
{
	/* A terminal has no end of file; the host sends the character for it. */
	if (e->tty)
		return;
	e->stdin_eof = true;
	if (e->stdin_q.len == 0)
		close_stdin(a, e);
}

static bool stdin_fits(const struct agent *a, const struct exec *e)
{
	return e->stdin_q.len < (a->boot.stdin_ack ? STDIN_WINDOW : QUEUE_WITHOUT_WINDOW);
}

void exec_stdin(struct agent *a, struct exec *e, const struct bytes *data)
{
	if (e->stdin_dead || e->stdin_eof) {
		acknowledge(a, e, data->len);
		return;
	}
	if (data->len == 0) {
		stdin_end(a, e);
		return;
	}
	if (!stdin_fits(a, e)) {
		stdin_overrun(a, e);
		acknowledge(a, e, data->len);
		return;
	}
	give_stdin(a, e, data);
}

void exec_signal(struct exec *e, int sig)
{
	if (sig < 1 || sig > 31)
		return;
	/* The group may outlive its leader; the leader alone can be signalled until it is reaped.
	 */
	if (kill(-e->child.pid, sig) < 0 && errno == ESRCH && !e->reaped)
		(void)kill(e->child.pid, sig);
}

void exec_resize(struct exec *e, const struct exec_resize *size)
{
	struct winsize ws = { .ws_row = size->rows, .ws_col = size->cols };

	if (e->tty && e->child.out_fd[0] >= 0)
		(void)ioctl(e->child.out_fd[0], TIOCSWINSZ, &ws);
}

void exec_poll_fill(const struct exec *e, struct pollfd *fds, bool want_output)
{
	bool want_stdin = e->child.in_fd >= 0 && e->stdin_q.len > 0;

	fds[0] = (struct pollfd){ want_stdin ? e->child.in_fd : -1, POLLOUT, 0 };
	for (int i = 0; i < 2; i++)
		fds[1 + i] = (struct pollfd){ want_output ? e->child.out_fd[i] : -1, POLLIN, 0 };
}

/* One read per stream and round, so that a chatty command leaves room for the others. Return: was
 * there something? */
static bool read_output(struct agent *a, struct exec *e, int which)
{
	uint8_t data[STREAM_CHUNK];
	ssize_t n = read(e->child.out_fd[which], data, sizeof(data));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	/* A terminal ends with EIO, when nobody has it open any more. */
	if (n <= 0) {
		close_fd(&e->child.out_fd[which]);
		return false;
	}
	(void)message_append_data(
		&a->out, e->id, which == 0 ? MSG_EXEC_STDOUT : MSG_EXEC_STDERR, data, n);
	return true;
}

/* The main command is gone: take what it left in its outputs. What others write later is lost. */
static void take_rest(struct agent *a, struct exec *e)
{
	for (int i = 0; i < 2; i++) {
		for (unsigned n = 0; n < REST_READS && e->child.out_fd[i] >= 0; n++) {
			if (!read_output(a, e, i))
				break;
		}
		close_fd(&e->child.out_fd[i]);
	}
}

void exec_poll_handle(struct agent *a, struct exec *e, const struct pollfd *fds)
{
	if (fds[0].revents && e->child.in_fd >= 0)
		drain_stdin(a, e);
	for (int i = 0; i < 2; i++) {
		if (fds[1 + i].revents && e->child.out_fd[i] >= 0)
			(void)read_output(a, e, i);
	}
}

static void set_reaped(struct agent *a, pid_t pid, int status)
{
	for (struct exec *e = a->execs; e; e = e->next) {
		if (!e->reaped && e->child.pid == pid) {
			e->reaped = true;
			e->status = status;
			return;
		}
	}
}

void exec_reap(struct agent *a)
{
	int status;

	for (int i = 0; i < REAP_BUDGET; i++) {
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid <= 0) {
			a->children_left = false;
			return;
		}
		set_reaped(a, pid, status);
	}
	a->children_left = true;
}

static bool is_through(const struct exec *e)
{
	return e->reaped && e->child.out_fd[0] < 0 && e->child.out_fd[1] < 0;
}

static void send_exited(struct agent *a, const struct exec *e)
{
	struct exec_exited exited = { .code = -1 };

	if (WIFEXITED(e->status))
		exited.code = WEXITSTATUS(e->status);
	else if (WIFSIGNALED(e->status))
		exited.signal = WTERMSIG(e->status);
	(void)agent_send(a, e->id, MSG_EXEC_EXITED, &exited);
}

void exec_sweep(struct agent *a)
{
	struct exec **at = &a->execs;

	while (*at) {
		struct exec *e = *at;

		if (e->reaped && e->main)
			take_rest(a, e);
		if (!is_through(e)) {
			at = &e->next;
			continue;
		}
		send_exited(a, e);
		*at = e->next;
		exec_free(e);
	}
}

void exec_free_all(struct agent *a)
{
	while (a->execs) {
		struct exec *e = a->execs;

		a->execs = e->next;
		exec_signal(e, SIGKILL);
		exec_free(e);
	}
}
