/* SPDX-License-Identifier: Apache-2.0 */
#include "image/ingest.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/layer.h"
#include "lib/cleanup.h"
#include "lib/num.h"

#define CHUNK KIB(256)
/* How often a user hears of progress. */
#define WAKE_STEP MIB(1)

/*
 * Wait until there is more than @at bytes, or all of it. Who downloads has deadlines and calls
 * ingest_join() when they pass: the wait ends.
 * Return: how many bytes there are; -ECANCELED
 */
static int64_t wait_for(struct ingest *in, uint64_t at)
{
	int64_t n;

	(void)pthread_mutex_lock(&in->mutex);
	in->consumed = MAX_OF(in->consumed, at);
	while (!in->abort && in->available <= at && at < in->d->size)
		(void)pthread_cond_wait(&in->more, &in->mutex);
	n = in->abort ? -ECANCELED : (int64_t)in->available;
	(void)pthread_mutex_unlock(&in->mutex);
	return n;
}

typedef int chunk_fn(void *ctx, const void *data, size_t len, struct err *err);

/* Give the blob to @fn, piece by piece, as it comes. */
static int for_chunks(struct ingest *in, chunk_fn *fn, void *ctx, struct err *err)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK);
	uint64_t at = 0, woke = 0;

	if (!chunk)
		return err_set(err, ENOMEM, "read a layer");
	while (at < in->d->size) {
		int64_t have = wait_for(in, at);
		ssize_t n;
		int rc;

		if (have < 0)
			return err_set(err, (int)-have, "make a layer");
		n = pread(in->part_fd, chunk, MIN_OF(CHUNK, (uint64_t)have - at), (off_t)at);
		if (n <= 0)
			return err_set(err, n < 0 ? errno : EIO, "read a downloaded layer");
		rc = fn(ctx, chunk, (size_t)n, err);
		if (rc < 0)
			return rc;
		at += (uint64_t)n;
		if (at - woke >= WAKE_STEP) {
			(void)wait_for(in, at);
			in->wake(in->wake_ctx);
			woke = at;
		}
	}
	return 0;
}

static int hash_chunk(void *ctx, const void *data, size_t len, struct err *err)
{
	hasher_update(ctx, data, len);
	return 0;
}

/* The digest of the whole blob. For those that are not sha256, and to tell a damaged blob from a
 * malformed layer. */
static int check_blob(struct ingest *in, struct err *err)
{
	cleanup_hasher struct hasher *h = hasher_new(in->d->digest);
	char got[DIGEST_TEXT_MAX];
	int rc;

	if (!h)
		return err_set(err, ENOMEM, "check a layer");
	rc = for_chunks(in, hash_chunk, h, err);
	if (rc < 0)
		return rc;
	hasher_finish(h, got);
	if (strcmp(got, in->d->digest) == 0)
		return 0;
	return err_msg(
		err, EBADMSG, "the registry sent other bytes than the manifest promises: %s", got);
}

static int feed_chunk(void *ctx, const void *data, size_t len, struct err *err)
{
	return layer_feed(ctx, data, len, err);
}

static int check_result(struct ingest *in, const struct layer_result *r, struct err *err)
{
	/* layer.h knows sha256 only. */
	bool sha256 = !strncmp(in->d->digest, "sha256:", 7);

	if (sha256 ? strcmp(r->blob_digest, in->d->digest) != 0 : check_blob(in, err) < 0)
		return err_msg(err, EBADMSG,
			"the registry sent other bytes than the manifest promises: %s",
			r->blob_digest);
	if (strcmp(r->diff_id, in->diff_id) != 0)
		return err_msg(err, EBADMSG,
			"its uncompressed content is %s, not %s as the image's configuration says",
			r->diff_id, in->diff_id);
	return 0;
}

static bool aborted(void *ctx)
{
	struct ingest *in = ctx;
	bool abort;

	(void)pthread_mutex_lock(&in->mutex);
	abort = in->abort;
	(void)pthread_mutex_unlock(&in->mutex);
	return abort;
}

/* Who has the turn gets it done or is aborted by its download's deadlines: no need for others. */
static int more_memory(void *ctx, struct err *err)
{
	struct ingest *in = ctx;

	if (turn_take(in->memory, aborted, in) < 0)
		return err_set(err, ECANCELED, "make a layer");
	in->has_memory = true;
	return 0;
}

static int make(struct ingest *in, struct cache_file *file, struct err *err)
{
	struct layer_options options = { .more_memory = more_memory, .ctx = in };
	cleanup_layer struct layer *l = NULL;
	struct layer_result result;
	int rc = layer_new(file->fd, &options, &l, err);

	rc = rc ? rc : for_chunks(in, feed_chunk, l, err);
	rc = rc ? rc : layer_finish(l, &result, err);
	if (rc < 0)
		return rc;
	return check_result(in, &result, err);
}

static int make_and_publish(struct ingest *in, int *ret_fd, struct err *err)
{
	cleanup_cache_file struct cache_file file = CACHE_FILE_INIT;
	struct err why = ERR_INIT;
	int rc = cache_artifact_create(in->cache, CACHE_LAYER, in->diff_id, &file, err);

	if (rc < 0)
		return rc;
	rc = make(in, &file, err);
	if (in->has_memory)
		turn_give(in->memory);
	in->has_memory = false;
	if (rc == 0)
		return cache_file_publish(&file, ret_fd, err);
	/* Garbage in the middle of a download looks like a bad layer: say which it is. */
	if ((rc == -EBADMSG || rc == -E2BIG) && check_blob(in, &why) == -EBADMSG)
		return err_msg(err, EBADMSG, "%s", why.msg);
	return rc;
}

static void *run(void *arg)
{
	struct ingest *in = arg;
	struct err err = ERR_INIT;
	int fd = -1, rc = make_and_publish(in, &fd, &err);

	(void)pthread_mutex_lock(&in->mutex);
	in->rc = rc;
	in->err = err;
	in->fd = fd;
	in->finished = true;
	(void)pthread_mutex_unlock(&in->mutex);
	in->wake(in->wake_ctx);
	return NULL;
}

/* Signals are for the thread that waits for them, which is not this one. */
static int spawn(struct ingest *in)
{
	sigset_t all, old;
	int rc;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(&in->thread, NULL, run, in);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

int ingest_start(struct ingest *in, struct cache *cache, const struct descriptor *d,
	const char *diff_id, int part_fd, struct turn *memory, void (*wake)(void *), void *ctx,
	struct err *err)
{
	int rc;

	*in = (struct ingest){ .cache = cache,
		.d = d,
		.diff_id = diff_id,
		.part_fd = part_fd,
		.memory = memory,
		.wake = wake,
		.wake_ctx = ctx,
		.fd = -1 };
	(void)pthread_mutex_init(&in->mutex, NULL);
	(void)pthread_cond_init(&in->more, NULL);
	rc = spawn(in);
	if (rc)
		return err_set(err, rc, "start a thread");
	in->running = true;
	return 0;
}

void ingest_more(struct ingest *in, uint64_t len)
{
	(void)pthread_mutex_lock(&in->mutex);
	in->available = len;
	(void)pthread_cond_signal(&in->more);
	(void)pthread_mutex_unlock(&in->mutex);
}

uint64_t ingest_consumed(struct ingest *in, bool *ret_finished)
{
	uint64_t n;

	(void)pthread_mutex_lock(&in->mutex);
	n = in->consumed;
	*ret_finished = in->finished;
	(void)pthread_mutex_unlock(&in->mutex);
	return n;
}

int ingest_join(struct ingest *in, bool abort, int *ret_fd, struct err *err)
{
	if (!in->running)
		return -ECANCELED;
	(void)pthread_mutex_lock(&in->mutex);
	in->abort |= abort;
	(void)pthread_cond_signal(&in->more);
	(void)pthread_mutex_unlock(&in->mutex);
	if (abort)
		turn_wake(in->memory);
	(void)pthread_join(in->thread, NULL);
	in->running = false;
	(void)pthread_cond_destroy(&in->more);
	(void)pthread_mutex_destroy(&in->mutex);
	if (in->rc < 0)
		return err_msg(err, -in->rc, "%s", in->err.msg);
	*ret_fd = in->fd;
	return 0;
}
