/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers on their way into the cache: one job per layer, in which a download and a thread that
 * makes the EROFS file run at the same time.
 *
 * Between the two lies the blob's own file in the cache's tmp folder: the network appends to it,
 * the thread reads behind. That file is the buffer, so a slow disk or decompressor never stalls a
 * connection, memory does not grow, and it is also what a killed pull leaves for the next one to
 * resume: the next one reads it again from the start, since the state of an unfinished EROFS file
 * cannot be kept. It is bounded by the size the manifest promises, and gone when the layer is
 * published.
 */
#ifndef IMAGE_INGEST_H
#define IMAGE_INGEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "image/manifest.h"
#include "image/turn.h"
#include "store/cache.h"

/*
 * struct ingest - one layer being made from a file that grows
 * @memory: shared by the layers of a pull: of those with much metadata (layer_options) one is made
 *	    at a time. The others wait; their downloads go on.
 * @has_memory: it is this one; the thread's
 * @wake: called by the thread when there is something to look at
 * The fields of the second group are shared, under @mutex.
 */
struct ingest {
	struct cache *cache;
	const struct descriptor *d;
	const char *diff_id;
	int part_fd; /* borrowed */
	struct turn *memory;
	bool has_memory;
	void (*wake)(void *ctx);
	void *wake_ctx;
	pthread_t thread;
	bool running;

	pthread_mutex_t mutex;
	pthread_cond_t more;
	uint64_t available, consumed;
	bool abort, finished;
	int rc, fd;
	struct err err;
};

/* ingest_start() - begin with what is there; the caller holds the layer's artifact lock */
int ingest_start(struct ingest *in, struct cache *cache, const struct descriptor *d,
	const char *diff_id, int part_fd, struct turn *memory, void (*wake)(void *), void *ctx,
	struct err *err);

/* ingest_more() - the first @len bytes of the blob are in the file now */
void ingest_more(struct ingest *in, uint64_t len);

/* ingest_consumed() - how many bytes were taken in; @ret_finished: has the thread ended? */
uint64_t ingest_consumed(struct ingest *in, bool *ret_finished);

/*
 * ingest_join() - after it finished, or to end it early (@abort)
 * @ret_fd: the published layer, marked as in use; the caller's
 * Return: 0; -EBADMSG the blob is not what its digest says, or not a layer, or not that of the
 * diff-id; -ECANCELED; -errno
 */
int ingest_join(struct ingest *in, bool abort, int *ret_fd, struct err *err);

#endif
