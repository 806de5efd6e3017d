/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of requests in flight on a split ring, in memory that outlives this process (vhost-user,
 * "Inflight I/O tracking"): when a back end dies, its successor finds in it which heads were taken
 * and never returned, and serves them again, oldest first.
 *
 * queue.c keeps it. All calls for one log happen under its queue's lock.
 *
 * The memory is shared with the front end, not with the guest. It is trusted as little: what is
 * read back is checked before it is used as an index.
 */
#ifndef VIRTIO_INFLIGHT_H
#define VIRTIO_INFLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One descriptor of the ring, as the protocol lays it out. */
struct inflight_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

/* One ring. A fresh log is all zeroes. */
struct inflight_log {
	uint64_t features;
	uint16_t version; /* 1 once in use */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_desc desc[];
};

/* inflight_log_size() - bytes of the log of a ring of @queue_size, a multiple of 64. */
size_t inflight_log_size(uint16_t queue_size);

/*
 * inflight_log_recover() - start using a log, fresh or left behind by another process
 * @queue_size, @used_idx: of the ring that is being enabled
 * @ret_heads: array of @queue_size: the heads left in flight, oldest first
 * @ret_counter: where to go on counting
 * Return: how many heads there are; -EINVAL: the log is of another ring size or version; -ENOMEM.
 * *ret_fresh: nobody used the log before.
 */
int inflight_log_recover(struct inflight_log *log, uint16_t queue_size, uint16_t used_idx,
	uint16_t *ret_heads, uint64_t *ret_counter, bool *ret_fresh);

/* inflight_log_take() - @head was popped. inflight_log_drop() - it goes back unserved. */
void inflight_log_take(struct inflight_log *log, uint16_t head, uint64_t counter);
void inflight_log_drop(struct inflight_log *log, uint16_t head);

/* inflight_log_begin()/inflight_log_end() - around the store of the new @used_idx to the ring. A
 * death between any two stores leaves a log that can be told apart. */
void inflight_log_begin(struct inflight_log *log, uint16_t head);
void inflight_log_end(struct inflight_log *log, uint16_t head, uint16_t used_idx);

#endif
