/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "guest/agent_internal.h"
#include "guest/exec.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/num.h"

/* Outputs of commands are read while less than this is queued for the host. */
#define OUT_LOW KIB(256)

#define READS_PER_ROUND 16

/* ---- start and end ---- */

int agent_init(struct agent *a, int port_fd, struct err *err)
{
	sigset_t chld;

	*a = (struct agent){ .port_fd = port_fd, .signal_fd = -1 };
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&chld);
	(void)sigaddset(&chld, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &chld, NULL) < 0)
		return err_set(err, errno, "block SIGCHLD");
	a->signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (a->signal_fd < 0)
		return err_set(err, errno, "open signalfd");
	return 0;
}

void agent_release(struct agent *a)
{
	exec_free_all(a);
	close_fd(&a->signal_fd);
	frame_reader_release(&a->in);
	buf_release(&a->out);
	cbor_pool_release(&a->boot_pool);
}

/* ---- sending ---- */

int agent_send(struct agent *a, uint32_t id, enum message_type type, const void *payload)
{
	return message_append(&a->out, id, type, payload);
}

void agent_send_error(
	struct agent *a, uint32_t id, const struct message *msg, const char *kind, const char *text)
{
	struct core_error error = { text_of(kind), text_of(text), { 0 } };

	if (msg)
		error.offending_type = msg->name;
	(void)agent_send(a, id, MSG_ERROR, &error);
}

int agent_flush(struct agent *a)
{
	while (a->out.len > 0) {
		ssize_t n = write(a->port_fd, buf_head(&a->out), a->out.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n < 0)
			return -errno;
		buf_consume(&a->out, n);
	}
	return 0;
}

/* ---- receiving ---- */

int agent_fill(struct agent *a)
{
	uint8_t *room;
	size_t len;
	ssize_t n;
	int ret = frame_reader_space(&a->in, &room, &len);

	if (ret < 0)
		return ret;
	n = read(a->port_fd, room, len);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return -ENOTCONN;
	a->host_seen = true;
	frame_reader_commit(&a->in, n);
	return 1;
}

int agent_ms_until(uint64_t at_ns)
{
	uint64_t now = clock_mono_ns();

	return now >= at_ns ? 0 : (int)((at_ns - now + NS_PER_MS - 1) / NS_PER_MS);
}

/* ---- the loop ---- */

enum { POLL_PORT, POLL_SIGNAL, POLL_EXECS };

/* struct poll_set - grows with the number of commands */
struct poll_set {
	struct pollfd *fds;
	size_t n, cap;
};

static void poll_set_release(struct poll_set *set)
{
	free(set->fds);
}

static int poll_set_size(struct poll_set *set, size_t n)
{
	struct pollfd *fds;

	set->n = n;
	if (n <= set->cap)
		return 0;
	fds = realloc(set->fds, 2 * n * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	set->fds = fds;
	set->cap = 2 * n;
	return 0;
}

static int fill_poll_set(struct agent *a, struct poll_set *set)
{
	bool room = a->out.len < OUT_LOW;
	size_t n = POLL_EXECS;
	short events = 0;

	for (struct exec *e = a->execs; e; e = e->next)
		n += EXEC_POLL_FDS;
	if (poll_set_size(set, n) < 0)
		return -ENOMEM;
	if (!a->frames_left)
		events |= POLLIN;
	if (a->out.len > 0)
		events |= POLLOUT;
	set->fds[POLL_PORT] = (struct pollfd){ a->port_fd, events, 0 };
	set->fds[POLL_SIGNAL] = (struct pollfd){ a->signal_fd, POLLIN, 0 };
	n = POLL_EXECS;
	for (struct exec *e = a->execs; e; e = e->next) {
		exec_poll_fill(e, &set->fds[n], room);
		n += EXEC_POLL_FDS;
	}
	return 0;
}

static void drain_signals(struct agent *a)
{
	struct signalfd_siginfo info;

	while (read(a->signal_fd, &info, sizeof(info)) > 0)
		;
	exec_reap(a);
}

/*
 * The console hands out a page per read, so a frame of stdin takes many; waiting in between would
 * cost as much again. Bounded, so that a busy host leaves room for the commands' outputs.
 */
static void read_port(struct agent *a)
{
	int ret = 1;

	for (int i = 0; i < READS_PER_ROUND && ret > 0 && !a->frames_left; i++) {
		ret = agent_fill(a);
		agent_handle_frames(a);
	}
	if (ret < 0)
		a->host_gone = true;
}

static void handle_port(struct agent *a, short revents)
{
	/* Hung up while nothing is to be read from it, or by an error: nobody is there any more. */
	if ((revents & (POLLERR | POLLNVAL)) || (revents & (POLLHUP | POLLIN)) == POLLHUP)
		a->host_gone = true;
	else if (revents & POLLIN)
		read_port(a);
	else if (a->frames_left)
		agent_handle_frames(a);
}

/* In the order of fill_poll_set(): nothing may start or end a command between the two. */
static void handle_execs(struct agent *a, const struct poll_set *set)
{
	size_t n = POLL_EXECS;

	for (struct exec *e = a->execs; e; e = e->next) {
		exec_poll_handle(a, e, &set->fds[n]);
		n += EXEC_POLL_FDS;
	}
}

static int poll_timeout(const struct agent *a)
{
	if (a->children_left || (a->frames_left && !a->stopping && a->out.len < AGENT_OUT_HIGH))
		return 0;
	return a->stopping ? agent_ms_until(a->stop_at_ns) : -1;
}

static int round_of(struct agent *a, struct poll_set *set)
{
	if (fill_poll_set(a, set) < 0)
		return -ENOMEM;
	if (poll(set->fds, set->n, poll_timeout(a)) < 0)
		return errno == EINTR ? 0 : -errno;
	handle_execs(a, set);
	handle_port(a, set->fds[POLL_PORT].revents);
	if (set->fds[POLL_SIGNAL].revents || a->children_left)
		drain_signals(a);
	exec_sweep(a);
	if (agent_flush(a) < 0)
		a->host_gone = true;
	return 0;
}

static bool is_over(const struct agent *a)
{
	if (a->host_gone)
		return true;
	return a->stopping && (!a->execs || clock_mono_ns() >= a->stop_at_ns);
}

int agent_run(struct agent *a, struct err *err)
{
	cleanup_(poll_set_release) struct poll_set set = { 0 };
	int ret;

	/* What came right behind the acknowledgement is here already. */
	agent_handle_frames(a);
	while (!is_over(a)) {
		ret = round_of(a, &set);
		if (ret < 0)
			return err_set(err, ret, "wait for events");
	}
	return 0;
}
