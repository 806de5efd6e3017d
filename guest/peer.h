/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: an agent in a process of its own, and a simple blocking host at the other end. */
#ifndef GUEST_PEER_H
#define GUEST_PEER_H

#include <sys/types.h>

#include "protocol/protocol.h"

/*
 * struct peer - one agent
 * @msg, @payload: what peer_next() received last; valid until the next call
 */
struct peer {
	int fd;
	pid_t pid;
	struct frame_reader in;
	struct cbor_pool pool;
	struct message msg;
	union message_payload payload;
};

/* peer_spawn() - fork an agent that serves one end of a socket pair. Return: our end; -1. */
int peer_spawn(pid_t *ret_pid);

/* peer_open() - start an agent and take it to core.ready; @boot NULL: as little as possible, with
 * stdin_ack. Fails the test if anything is wrong, as all of these do. */
void peer_open(struct peer *p, const struct bootstrap *boot);

/* peer_close() - send core.shutdown and check that the agent ends with success. */
void peer_close(struct peer *p);

void peer_send(struct peer *p, uint32_t id, enum message_type type, const void *payload);

void peer_send_raw(struct peer *p, const void *data, size_t len);

void peer_stdin(struct peer *p, uint32_t id, const void *data, size_t len);

/* peer_exec() - request `sh -c SCRIPT` with defaults. */
void peer_exec(struct peer *p, uint32_t id, const char *script);

/* peer_next() - wait for the next frame and decode it. Return: its type. */
enum message_type peer_next(struct peer *p);

/* peer_expect() - peer_next(), which must be of @type on @id. */
void peer_expect(struct peer *p, uint32_t id, enum message_type type);

/*
 * peer_finish() - collect the command's output until it exits
 * @out: takes stdout; stderr is added to it, too
 * Return: exit code
 */
int peer_finish(struct peer *p, uint32_t id, struct buf *out);

#endif
