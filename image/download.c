/* SPDX-License-Identifier: Apache-2.0 */
/* A blob into a file, resumed after whatever interrupts it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/exchange.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/num.h"

struct download {
	struct registry *r;
	struct descriptor d;
	int fd;
	uint64_t at; /* bytes in the file */
	char *path;
	size_t endpoint;
	unsigned short_ends; /* responses in a row that ended early without giving anything */
	uint64_t before;     /* @at when the current request started */
	download_progress_fn *fn;
	void *ctx;
	struct exchange x;
};

static int on_rewind(void *ctx, uint64_t *from)
{
	struct download *d = ctx;

	*from = d->before = d->at;
	return 0;
}

static int on_bytes(void *ctx, const void *data, size_t len)
{
	struct download *d = ctx;
	const char *p = data;

	if (len > d->d.size - d->at)
		return -EFBIG;
	while (len) {
		ssize_t n = pwrite(d->fd, p, len, (off_t)d->at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		d->at += (uint64_t)n;
	}
	d->fn(d->ctx, d->at);
	return 0;
}

/* Begin with the endpoint that is next. */
static int begin(struct download *d, struct err *err)
{
	struct exchange_request q = { .path = d->path,
		.body_max = d->d.size,
		.rewind = on_rewind,
		.body = on_bytes,
		.ctx = d };

	int rc;

	exchange_release(&d->x);
	rc = exchange_init(&d->x, d->r, &d->r->endpoints[d->endpoint], &q, err);
	if (rc == 0 && d->at < d->d.size)
		exchange_step(&d->x);
	return rc;
}

int download_start(struct registry *r, const struct descriptor *desc, int fd, uint64_t from,
	download_progress_fn *fn, void *ctx, struct download **ret, struct err *err)
{
	struct download *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_set(err, ENOMEM, "start a download");
	*d = (struct download){ .r = r, .d = *desc, .fd = fd, .at = from, .fn = fn, .ctx = ctx };
	d->x.state = EXCHANGE_DONE;
	if (asprintf(&d->path, "%s/blobs/%s", r->ref.repository, desc->digest) < 0) {
		d->path = NULL;
		rc = err_set(err, ENOMEM, "start a download");
	} else {
		rc = begin(d, err);
	}
	if (rc < 0) {
		download_free(d);
		return rc;
	}
	*ret = d;
	return 0;
}

void download_free(struct download *d)
{
	if (!d)
		return;
	exchange_release(&d->x);
	free(d->path);
	free(d);
}

/* A whole response, but not the whole blob: its Content-Length said less, or it had none. */
static int ended_early(struct download *d, struct err *err)
{
	d->short_ends = d->at > d->before ? 0 : d->short_ends + 1;
	if (d->short_ends >= d->r->o.attempts)
		return err_msg(err, EBADMSG, "%s ends the blob after %llu of %llu bytes",
			d->x.ep->host, (unsigned long long)d->at, (unsigned long long)d->d.size);
	return begin(d, err) < 0 ? -ENOMEM : 1;
}

static int failed(struct download *d, struct err *err)
{
	struct endpoint *ep = d->x.ep;

	if (d->x.rc == -EFBIG)
		return err_msg(err, EBADMSG, "%s sent more than the %llu bytes of the blob",
			ep->host, (unsigned long long)d->d.size);
	if (d->endpoint + 1 < d->r->endpoint_count) {
		log_info("mirror %s: %s", ep->name, d->x.err.msg);
		d->endpoint++;
		return begin(d, err) < 0 ? -ENOMEM : 1;
	}
	if (d->x.rc == -ENOENT)
		return err_msg(
			err, ENOENT, "%s has not got this blob of its own manifest", ep->host);
	return err_msg(err, -d->x.rc, "%s", d->x.err.msg);
}

int download_step(struct download *d, struct err *err)
{
	if (d->at == d->d.size)
		return 0;
	exchange_step(&d->x);
	if (d->x.state != EXCHANGE_DONE)
		return 1;
	if (d->at == d->d.size)
		return 0;
	return d->x.rc < 0 ? failed(d, err) : ended_early(d, err);
}
