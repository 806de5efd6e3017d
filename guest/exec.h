/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running commands. A command's terminal frame (exec.exited) is sent once all its outputs have
 * ended and its process was reaped, so it always comes last; a background process that keeps an
 * output open delays it, unless the command is the machine's main one.
 */
#ifndef GUEST_EXEC_H
#define GUEST_EXEC_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "guest/agent.h"

/* Descriptors of one command in the poll set: stdin, stdout, stderr */
#define EXEC_POLL_FDS 3

/*
 * struct exec - one command
 * @stdin_q:  not yet taken by the command; bounded by the window
 * @stdin_eof: close stdin when the queue is empty
 * @stdin_dead: stdin is closed; what still comes is acknowledged and dropped
 * @unacked:  taken or dropped, not yet acknowledged
 */
struct exec {
	struct exec *next;
	uint32_t id;
	struct child child;
	bool tty, main;
	struct buf stdin_q;
	bool stdin_eof, stdin_dead;
	uint32_t unacked;
	bool reaped;
	int status;
};

/* exec_find() - by id, or NULL. */
struct exec *exec_find(struct agent *a, uint32_t id);

/* exec_start() - run what @req asks for; answers exec.started or exec.failed. */
void exec_start(struct agent *a, uint32_t id, const struct exec_request *req);

/* exec_stdin() - bytes for the command's stdin, none for end of file. */
void exec_stdin(struct agent *a, struct exec *e, const struct bytes *data);

/* exec_signal() - send @sig (others than 1-31 are ignored) to the process group. */
void exec_signal(struct exec *e, int sig);

void exec_resize(struct exec *e, const struct exec_resize *size);

/* exec_poll_fill() - say in @fds[EXEC_POLL_FDS] what to wait for; outputs only if @want_output. */
void exec_poll_fill(const struct exec *e, struct pollfd *fds, bool want_output);

/* exec_poll_handle() - act on what poll() found. */
void exec_poll_handle(struct agent *a, struct exec *e, const struct pollfd *fds);

/* exec_reap() - collect ended processes, commands and orphans alike, within a budget per call;
 * sets a->children_left when there may be more. */
void exec_reap(struct agent *a);

/* exec_sweep() - send exec.exited for commands that are through, and forget them. */
void exec_sweep(struct agent *a);

/* exec_free_all() - kill and forget what is left, without a word to the host. */
void exec_free_all(struct agent *a);

#endif
