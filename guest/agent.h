/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: one thread, one poll loop over the port, the signal descriptor and the streams of the
 * commands. Nothing in it waits for one command at the expense of another: stdin is queued per
 * command, at most STDIN_WINDOW bytes; outputs are read only while the queue to the host is short.
 *
 *	agent_init -> agent_receive_bootstrap -> agent_receive_patches -> agent_handshake ->
 *	agent_ready -> agent_run
 */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/spawn.h"
#include "lib/err.h"
#include "protocol/protocol.h"

/* How long the host may take for each step of the start-up */
#define HOST_DEADLINE_MS 60000

struct exec;

/*
 * struct agent
 * @port_fd:      borrowed; non-blocking
 * @host_seen:    bytes have arrived; until then an unconnected console port reads as end of file
 * @boot:         decoded bootstrap; its texts are in @boot_pool
 * @execs:        running commands; see guest/exec.h
 * @children_left: the last reaping stopped at its budget
 * @frames_left:  frames may be buffered that wait for room in @out, or for nothing any more
 * @stopping, @stop_at_ns: shutdown was asked for; running commands have until then
 * @host_gone:    the port is closed: nobody to work for
 */
struct agent {
	int port_fd, signal_fd;
	bool host_seen, host_gone;
	struct frame_reader in;
	struct buf out;
	struct bootstrap boot;
	struct cbor_pool boot_pool;
	struct exec_defaults defaults;
	struct exec *execs;
	bool children_left, frames_left;
	bool stopping;
	uint64_t stop_at_ns;
};

/*
 * agent_init() - blocks SIGCHLD for this process and ignores SIGPIPE
 * Return: 0, -errno
 */
int agent_init(struct agent *a, int port_fd, struct err *err);

/* agent_release() - kills what still runs. */
void agent_release(struct agent *a);

/*
 * agent_receive_bootstrap() - wait for the first frame, which must be core.bootstrap
 * Return: 0 and a->boot; -ETIMEDOUT, -EBADMSG, -ENOTSUP (asks for what we cannot do), -errno
 */
int agent_receive_bootstrap(struct agent *a, struct err *err);

/*
 * agent_receive_patches() - apply the changes to the root file system that the bootstrap announced
 * Return: 0; as agent_receive_bootstrap(), and what patch_apply() returns
 */
int agent_receive_patches(struct agent *a, struct err *err);

/* agent_handshake() - send core.init.resolved and wait for core.init.ack. Return: 0, -errno. */
int agent_handshake(struct agent *a, struct err *err);

/* agent_boottime_ns() - nanoseconds since the kernel started. */
uint64_t agent_boottime_ns(void);

/* agent_ready() - send core.ready. @init_time_ns: how long initialisation took. Return: 0, -errno.
 */
int agent_ready(struct agent *a, uint64_t boot_time_ns, uint64_t init_time_ns, struct err *err);

/* agent_run() - serve until core.shutdown or until the host is gone. Return: 0, -errno. */
int agent_run(struct agent *a, struct err *err);

/* agent_report_failure() - tell the host why initialisation failed, and give it @timeout_ms to
 * answer with core.shutdown or to go away. */
void agent_report_failure(struct agent *a, const char *message, int timeout_ms);

/* agent_send() - queue a frame; agent_run() writes it. Return: 0, -errno. */
int agent_send(struct agent *a, uint32_t id, enum message_type type, const void *payload);

/* agent_send_error() - core.error in answer to @msg, or to a frame that has no envelope (NULL). */
void agent_send_error(struct agent *a, uint32_t id, const struct message *msg, const char *kind,
	const char *text);

#endif
