/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host side of one command: boots the agent over its stream socket, runs one command, forwards
 * its streams, and asks the machine to end. See protocol/protocol.h for what is said.
 *
 *	WAITING  bootstrap sent; until core.ready, or the deadline
 *	RUNNING  command requested; streams flow until exec.exited or exec.failed
 *	CLOSING  what the command wrote is still on its way to stdout and stderr; then core.shutdown
 *	DONE     the done callback ran; nothing is watched any more
 *
 * Memory is bounded both ways: no more is read from the guest while an output is slow, nor from
 * stdin while the guest's window is used up. The loop never blocks on a stream, but for regular
 * files (and whatever else epoll cannot watch), which are read and written in place.
 *
 * The process must ignore SIGPIPE.
 */
#ifndef RUNTIME_SESSION_H
#define RUNTIME_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/loop.h"
#include "protocol/protocol.h"

/* Exit codes that the session itself decides on (cli.md 2.4) */
#define SESSION_EXIT_FAILURE	    1	/* msb's own failure; user or group unknown in the guest */
#define SESSION_EXIT_NOT_EXECUTABLE 126 /* found, but cannot be run; bad working directory */
#define SESSION_EXIT_NOT_FOUND	    127
#define SESSION_EXIT_SIGNAL_BASE    128 /* + the signal that ended the command */

#define SESSION_READY_TIMEOUT_MS 180000

struct session;

/*
 * struct session_cfg - what to run; everything is borrowed until session_new() returns, but for the
 * descriptors, which must stay open until session_free()
 * @agent_fd:  connected stream socket to the guest's port "agent"; made non-blocking
 * @stdin_fd:  forwarded to the command; -1: the command sees end of file at once. Its flags are
 *             left alone: it may be shared with other processes
 * @stdout_fd, @stderr_fd: as @stdin_fd; -1: output is thrown away
 * @boot:      parameters of the guest. @security_profile none means "default"; stdin_ack is set by
 *             the session
 * @exec:      the command. rows and cols matter only with tty. Texts are made with text_of()
 * @ready:     NULL, or called once when the guest is ready, before the command starts: the time to
 *             make a terminal raw; must not call session_free()
 * @ready_timeout_ms: how long the guest may take to core.ready; 0 means SESSION_READY_TIMEOUT_MS
 * @next_patch: NULL, or gives the changes to the root file system, one after the other: 1 and *ret,
 *             valid until the next call; 0 no more; -errno, which ends the session with the
 * message. Called as the guest takes them, with @patch_ctx, which must live as long
 */
struct session_cfg {
	int agent_fd;
	int stdin_fd, stdout_fd, stderr_fd;
	struct bootstrap boot;
	struct exec_request exec;
	void (*ready)(void *ctx);
	uint32_t ready_timeout_ms;
	int (*next_patch)(void *ctx, struct patch *ret, struct err *err);
	void *patch_ctx;
};

/*
 * session_done_fn - the one call at the end, on the loop's thread; may call session_free()
 * @exit_code: for the process: the command's, or one of SESSION_EXIT_*. 0 when stdout was closed by
 *             its reader, which ends the session quietly (D8)
 * @err:       NULL, or one line to print: what failed. Words of the guest in it are made printable.
 *             Its code is ECONNRESET if the guest went away, ETIMEDOUT if it never came up: then
 * its console may say why
 */
typedef void session_done_fn(void *ctx, int exit_code, const struct err *err);

/*
 * session_new() - start; the rest happens in @loop
 * Return: 0 and *ret_session, freed by session_free(); -EINVAL, -E2BIG: command or parameters that
 * no frame can carry; -ENOMEM, -errno
 */
int session_new(struct loop *loop, const struct session_cfg *cfg, session_done_fn *done, void *ctx,
	struct session **ret_session, struct err *err);

/* session_free() - end it wherever it is, without calling back; NULL is fine. Closes nothing. */
void session_free(struct session *s);

/*
 * session_signal() - send signal @sig (1-31) to the command's process group
 * Before the command is started the signal is kept and sent right behind the request; afterwards
 * it is dropped.
 */
void session_signal(struct session *s, int sig);

/* session_resize() - the terminal has a new size; without a tty it does nothing. */
void session_resize(struct session *s, uint16_t rows, uint16_t cols);

/* session_ready() - did the guest report core.ready? For messages of whoever watches the worker. */
bool session_ready(const struct session *s);

/* session_has_output() - does output wait for a reader of stdout or stderr who takes his time? */
bool session_has_output(const struct session *s);

#endif
