/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client of the registry API (OCI distribution-spec 1.1) for one repository: its registry, and
 * the mirrors configured for that, which are asked first.
 *
 * A request goes to an endpoint (mirror or registry). What the answer means:
 *	200, 206    the content; its digest is checked by whoever takes it
 *	401         find credentials, get a token, once more
 *	3xx         go there, at most ten times. Credentials stay at the host they are for; a public
 *		    registry cannot send us to addresses of private networks, nor from https to http
 *	408 429 5xx, network errors
 *		    again after a while that doubles, or after what Retry-After says
 *	others      this endpoint has not got it; the next one
 *
 * One thread uses a client; registry_wake() alone may come from others.
 */
#ifndef IMAGE_REGISTRY_H
#define IMAGE_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "image/manifest.h"
#include "image/reference.h"
#include "image/settings.h"
#include "lib/buf.h"

/* registry_retry_fn - a request failed with @reason and is tried again in @wait_ms */
typedef void registry_retry_fn(void *ctx, const char *reason, unsigned wait_ms);

/* struct registry_options - as in struct image_pull_options, no field 0; texts are borrowed */
struct registry_options {
	const struct image_settings *settings;
	const char *username, *password;
	bool insecure;
	const char *ca_certs;
	unsigned idle_timeout_ms, connect_timeout_ms, retry_base_ms, attempts;
	registry_retry_fn *on_retry;
	void *retry_ctx;
};

struct registry;

/* registry_new() - no network yet. @o and what it points to is borrowed until registry_free(). */
int registry_new(const struct registry_options *o, const struct reference *ref,
	struct registry **ret, struct err *err);
void registry_free(struct registry *r); /* after its downloads */

/*
 * registry_manifest() - the manifest or index called @target (tag or digest), into the empty @raw
 * @ret_type: its content type
 * Return: 0, and @raw has the digest that @target, if a digest, and the response named; -ENOENT;
 * -EACCES; -EBADMSG; errors of the network. Blocks.
 */
int registry_manifest(struct registry *r, const char *target, struct buf *raw,
	char ret_type[static MEDIA_TYPE_MAX], struct err *err);

/* registry_document() - a small blob, into the empty @raw; size and digest are checked. Blocks. */
int registry_document(
	struct registry *r, const struct descriptor *d, struct buf *raw, struct err *err);

/* A blob being downloaded into a file. */
struct download;

/* download_progress_fn - the first @len bytes of the blob are in the file */
typedef void download_progress_fn(void *ctx, uint64_t len);

/*
 * download_start() - never blocks
 * @fd:   borrowed; bytes are written at their offset in the blob
 * @from: how many bytes are there already
 */
int download_start(struct registry *r, const struct descriptor *d, int fd, uint64_t from,
	download_progress_fn *fn, void *ctx, struct download **ret, struct err *err);

/*
 * download_step() - do what is due; between calls registry_poll() lets bytes come
 * Return: 1 going on; 0 all bytes are there (their digest is not checked); -errno
 */
int download_step(struct download *d, struct err *err);
void download_free(struct download *d);

/* registry_poll() - wait for the network, at most @timeout_ms and not beyond the next retry */
int registry_poll(struct registry *r, unsigned timeout_ms, struct err *err);
void registry_wake(struct registry *r);

#define cleanup_registry __attribute__((cleanup(registry_cleanup)))

static inline void registry_cleanup(struct registry **r)
{
	registry_free(*r);
}

#endif
