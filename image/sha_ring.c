/* SPDX-License-Identifier: Apache-2.0 */
#include "image/sha_ring.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define PIECES 4

/* Pieces hashed in place before a thread is worth its start. */
#define INLINE_PIECES 4

/*
 * struct sha_ring - a ring of pieces; @lock guards the counters and @stop, @changed tells of them
 * @put, @done: pieces ever put and hashed; put - done <= PIECES
 * @failed:	set by whoever hashes; read after the thread has ended
 */
struct sha_ring {
	EVP_MD_CTX *md;
	uint8_t *buf[PIECES];
	size_t len[PIECES];
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	uint64_t put, done;
	bool running, no_thread, stop, failed;
};

int sha_ring_new(struct sha_ring **ret, struct err *err)
{
	struct sha_ring *d = calloc(1, sizeof(*d));

	if (!d)
		return err_set(err, ENOMEM, "digest");
	(void)pthread_mutex_init(&d->lock, NULL);
	(void)pthread_cond_init(&d->changed, NULL);
	d->md = EVP_MD_CTX_new();
	for (unsigned i = 0; i < PIECES; i++)
		d->buf[i] = malloc(SHA_RING_PIECE);
	for (unsigned i = 0; i < PIECES; i++)
		if (!d->buf[i])
			goto fail;
	if (!d->md || EVP_DigestInit_ex(d->md, EVP_sha256(), NULL) != 1)
		goto fail;
	*ret = d;
	return 0;
fail:
	sha_ring_free(d);
	return err_set(err, ENOMEM, "digest");
}

static void stop_thread(struct sha_ring *d)
{
	if (!d->running)
		return;
	(void)pthread_mutex_lock(&d->lock);
	d->stop = true;
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
	(void)pthread_join(d->thread, NULL);
	d->running = false;
}

void sha_ring_free(struct sha_ring *d)
{
	if (!d)
		return;
	stop_thread(d);
	EVP_MD_CTX_free(d->md);
	for (unsigned i = 0; i < PIECES; i++)
		free(d->buf[i]);
	(void)pthread_cond_destroy(&d->changed);
	(void)pthread_mutex_destroy(&d->lock);
	free(d);
}

static void hash_piece(struct sha_ring *d, uint64_t i)
{
	if (EVP_DigestUpdate(d->md, d->buf[i % PIECES], d->len[i % PIECES]) != 1)
		d->failed = true;
}

/* Ends when it is told to and nothing is left. */
static void *hash_pieces(void *ctx)
{
	struct sha_ring *d = ctx;

	(void)pthread_mutex_lock(&d->lock);
	while (!d->stop || d->done < d->put) {
		uint64_t i = d->done;

		if (i == d->put) {
			(void)pthread_cond_wait(&d->changed, &d->lock);
			continue;
		}
		(void)pthread_mutex_unlock(&d->lock);
		hash_piece(d, i);
		(void)pthread_mutex_lock(&d->lock);
		d->done++;
		(void)pthread_cond_broadcast(&d->changed);
	}
	(void)pthread_mutex_unlock(&d->lock);
	return NULL;
}

uint8_t *sha_ring_room(struct sha_ring *d)
{
	if (!d->running)
		return d->buf[d->put % PIECES];
	(void)pthread_mutex_lock(&d->lock);
	while (d->put - d->done >= PIECES)
		(void)pthread_cond_wait(&d->changed, &d->lock);
	(void)pthread_mutex_unlock(&d->lock);
	return d->buf[d->put % PIECES];
}

void sha_ring_put(struct sha_ring *d, size_t len)
{
	d->len[d->put % PIECES] = len;
	if (!d->running && !d->no_thread && d->put >= INLINE_PIECES) {
		d->running = !pthread_create(&d->thread, NULL, hash_pieces, d);
		d->no_thread = !d->running;
	}
	if (!d->running) {
		hash_piece(d, d->put++);
		d->done++;
		return;
	}
	(void)pthread_mutex_lock(&d->lock);
	d->put++;
	(void)pthread_cond_broadcast(&d->changed);
	(void)pthread_mutex_unlock(&d->lock);
}

int sha_ring_finish(struct sha_ring *d, uint8_t *ret, struct err *err)
{
	stop_thread(d);
	if (d->failed || EVP_DigestFinal_ex(d->md, ret, NULL) != 1)
		return err_msg(err, EIO, "the SHA-256 implementation failed");
	return 0;
}

void sha_ring_text(const uint8_t *sha256, char *ret)
{
	(void)snprintf(ret, 8, "sha256:");
	for (unsigned i = 0; i < SHA_RING_BYTES; i++)
		(void)snprintf(ret + 7 + 2 * i, 3, "%02x", sha256[i]);
}
