/* SPDX-License-Identifier: Apache-2.0 */
/* One request to an endpoint: redirects, authorization, retries. See registry.h. */
#include "image/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"

#define REDIRECTS_MAX	10
#define RETRY_WAIT_MAX	30000u
#define RETRY_AFTER_MAX 60
/* So many new bytes are progress: the count of attempts begins anew. */
#define PROGRESS_BYTES KIB(64)
/* Words for a failed look-up will hardly change: fewer attempts. */
#define LOOKUP_ATTEMPTS 2

static char *endpoint_url(const struct endpoint *ep, const char *path)
{
	char *url = NULL;
	int rc = asprintf(&url, "%s://%s/v2/%s", ep->plain ? "http" : "https", ep->host, path);

	return rc < 0 ? NULL : url;
}

static char *first_url(const struct exchange *x)
{
	return x->q.path ? endpoint_url(x->ep, x->q.path) : strdup(x->q.url);
}

int exchange_init(struct exchange *x, struct registry *r, struct endpoint *ep,
	const struct exchange_request *q, struct err *err)
{
	*x = (struct exchange){ .r = r, .ep = ep, .q = *q, .state = EXCHANGE_WAITING };
	x->url = first_url(x);
	return x->url ? 0 : err_set(err, ENOMEM, "start a request");
}

void exchange_release(struct exchange *x)
{
	http_finish(x->t);
	free(x->url);
	*x = (struct exchange){ .state = EXCHANGE_DONE };
}

static void over(struct exchange *x, int rc)
{
	x->state = EXCHANGE_DONE;
	x->rc = rc;
}

static int on_body(void *ctx, const void *data, size_t len)
{
	struct exchange *x = ctx;
	const struct http_response *resp = http_response(x->t);
	size_t cut;

	if (x->got == 0 && x->from) {
		if (resp->range_from >= 0 && (uint64_t)resp->range_from != x->from)
			return -EPROTO;
		/* 200: it ignores ranges and begins at the start. */
		x->skip = resp->range_from < 0 ? x->from : 0;
		x->base = x->from - x->skip;
	}
	x->got += len;
	cut = (size_t)MIN_OF(x->skip, (uint64_t)len);
	x->skip -= cut;
	/* The same bytes again, after a failure, bring nobody nearer to the end. */
	if (x->base + x->got >= x->reached + PROGRESS_BYTES) {
		x->reached = x->base + x->got;
		x->attempts = 0;
	}
	if (cut == len)
		return 0;
	return x->q.body(x->q.ctx, (const uint8_t *)data + cut, len - cut);
}

static int renew_token(struct exchange *x)
{
	if (!x->q.path || endpoint_fresh(x->ep))
		return 0;
	return endpoint_authorize(x->r, x->ep, NULL, &x->err);
}

static void start(struct exchange *x)
{
	const char *shown = x->q.path ? NULL : x->q.authorization;
	struct http_request h;
	int rc;

	http_finish(x->t);
	x->t = NULL;
	x->got = x->skip = x->from = x->base = 0;
	err_clear(&x->err);
	rc = renew_token(x);
	if (rc == 0 && x->q.rewind)
		rc = x->q.rewind(x->q.ctx, &x->from);
	if (rc < 0) {
		over(x, x->err.code ? rc : err_set(&x->err, -rc, "start a request"));
		return;
	}
	if (x->q.path)
		shown = x->ep->authorization;
	h = (struct http_request){
		.url = x->url,
		.authorization = x->foreign ? NULL : shown,
		.accept = x->q.accept,
		.form = x->redirects ? NULL : x->q.form,
		.from = x->from,
		.body = on_body,
		.body_ctx = x,
		.body_max = x->q.body_max,
		.total_ms = x->q.total_ms,
		.plain_ok = x->ep->plain,
		.public_only = (x->foreign || !x->q.path) && !x->ep->private_peer,
	};
	rc = http_start(x->r->http, &h, &x->t, &x->err);
	if (rc < 0)
		over(x, rc);
	else
		x->state = EXCHANGE_RUNNING;
}

static unsigned backoff_ms(struct exchange *x)
{
	unsigned shift = MIN_OF(x->attempts - 1, 10u);
	unsigned wait = MIN_OF(x->r->o.retry_base_ms << shift, RETRY_WAIT_MAX);

	/* Three quarters to five quarters, so that many clients do not come at once. */
	return wait * 3 / 4 + (unsigned)rand_r(&x->r->seed) % (wait / 2 + 1);
}

/* registry_poll() must not sleep beyond that. */
static void note_due(const struct exchange *x)
{
	if (!x->r->next_retry_ns || x->due_ns < x->r->next_retry_ns)
		x->r->next_retry_ns = x->due_ns;
}

/* Wait and try again, from the endpoint's own address; or give up with the error that is set. */
static void retry(struct exchange *x, int rc, int after_s, unsigned attempts_max)
{
	unsigned wait;
	char *url;

	x->attempts++;
	url = x->attempts < attempts_max ? first_url(x) : NULL;
	if (!url) {
		over(x, rc);
		return;
	}
	free(x->url);
	x->url = url;
	x->foreign = false;
	x->redirects = 0;
	wait = backoff_ms(x);
	if (after_s >= 0)
		wait = MAX_OF(wait, (unsigned)after_s * 1000);
	log_debug("%s; again in %u ms", x->err.msg, wait);
	if (x->r->o.on_retry)
		x->r->o.on_retry(x->r->o.retry_ctx, x->err.msg, wait);
	x->due_ns = clock_mono_ns() + wait * NS_PER_MS;
	x->state = EXCHANGE_WAITING;
	note_due(x);
}

/* "https://a:5000/x" and @location, which may be relative. Return: NULL if that is no URL. */
static char *resolve(const char *base, const char *location)
{
	CURLU *u = curl_url();
	char *text = NULL, *copy = NULL;

	if (u && !curl_url_set(u, CURLUPART_URL, base, 0) &&
		!curl_url_set(u, CURLUPART_URL, location, 0) &&
		!curl_url_get(u, CURLUPART_URL, &text, 0))
		copy = strdup(text);
	curl_free(text);
	curl_url_cleanup(u);
	return copy;
}

/* Scheme, host and port. */
static bool same_origin(const char *a, const char *b)
{
	size_t n = strcspn(a, ":") + 3;

	n += strcspn(a + n, "/?#");
	return !strncmp(a, b, n) && (b[n] == '\0' || strchr("/?#", b[n]));
}

/* A stranger's words: enough of them to see what is meant, and fit for a terminal. */
static int bad_redirect(struct exchange *x, const char *location)
{
	char shown[64];

	(void)snprintf(shown, sizeof(shown), "%.63s", location);
	log_clean(shown);
	return err_msg(&x->err, EPERM, "%s redirects to '%s'%s, which is not allowed", x->ep->host,
		shown, strlen(location) < sizeof(shown) ? "" : "...");
}

static void redirect(struct exchange *x, const char *location)
{
	char *url = location[0] ? resolve(x->url, location) : NULL;

	if (++x->redirects > REDIRECTS_MAX) {
		over(x, err_msg(&x->err, ELOOP, "%s redirects without end", x->ep->host));
	} else if (!url ||
		   (strncmp(url, "https://", 8) && (!x->ep->plain || strncmp(url, "http://", 7)))) {
		over(x, bad_redirect(x, location));
	} else {
		x->ep->private_peer |=
			x->q.path && !x->foreign && http_response(x->t)->private_peer;
		/* Once it went elsewhere, no way leads back to being shown credentials. */
		x->foreign |= !same_origin(x->url, url);
		free(x->url);
		x->url = take_ptr(&url);
		start(x);
	}
	free(url);
}

/* Who answered: the endpoint, its token service, or where one of them sent us. free() it. */
static char *answered_by(const struct exchange *x)
{
	cleanup_free char *first = x->q.path ? strdup(x->ep->host) : http_host_of(x->q.url);
	cleanup_free char *last = x->foreign ? http_host_of(x->url) : NULL;
	char *text = NULL;

	if (!first)
		return NULL;
	if (!last)
		return take_ptr(&first);
	return asprintf(&text, "%s (where %s redirects to)", last, first) < 0 ? NULL : text;
}

static int refusal(struct exchange *x, const struct http_response *resp, int code)
{
	cleanup_free char *who = answered_by(x);

	return err_msg(&x->err, code, "%s answered %ld%s%s%s", who ? who : x->ep->host,
		resp->status, resp->message[0] ? " (" : "", resp->message,
		resp->message[0] ? ")" : "");
}

static void unauthorized(struct exchange *x, const struct http_response *resp)
{
	int rc;

	if (x->foreign) {
		over(x, refusal(x, resp, EACCES));
		return;
	}
	x->ep->private_peer |= resp->private_peer;
	if (x->authorized || !x->q.path) {
		over(x, err_msg(&x->err, EACCES,
				"%s refused access to %s%s%s (wrong credentials, or no such "
				"repository)",
				x->ep->host, x->r->ref.repository, resp->message[0] ? ": " : "",
				resp->message));
		return;
	}
	x->authorized = true;
	endpoint_forget(x->ep);
	rc = endpoint_authorize(x->r, x->ep, resp->challenge, &x->err);
	if (rc < 0)
		over(x, rc);
	else
		start(x);
}

/* Perhaps it answers otherwise the next time, unless that is too far off. */
static void later(struct exchange *x, const struct http_response *resp)
{
	bool passes = resp->status == 408 || resp->status == 429 || resp->status >= 500;
	struct err why = ERR_INIT;

	(void)refusal(x, resp, EREMOTEIO);
	if (passes && resp->retry_after_s > RETRY_AFTER_MAX) {
		why = x->err;
		over(x, err_msg(&x->err, EREMOTEIO, "%s and wants to be asked again in %d s only",
				why.msg, resp->retry_after_s));
	} else if (passes) {
		retry(x, -EREMOTEIO, resp->retry_after_s, x->r->o.attempts);
	} else {
		over(x, -EREMOTEIO);
	}
}

static void judge(struct exchange *x, const struct http_response *resp)
{
	switch (resp->status) {
	case 200:
	case 206:
		x->authorized = false;
		over(x, 0);
		return;
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		redirect(x, resp->location);
		return;
	case 401:
		unauthorized(x, resp);
		return;
	case 403:
		over(x, refusal(x, resp, EACCES));
		return;
	case 404:
		over(x, refusal(x, resp, ENOENT));
		return;
	case 416:
		over(x, refusal(x, resp, ERANGE));
		return;
	default:
		later(x, resp);
	}
}

static void ended(struct exchange *x)
{
	const struct http_response *resp = http_response(x->t);
	int rc = http_result(x->t, &x->err);

	if (rc == 0)
		judge(x, resp);
	else if (http_retryable(rc))
		retry(x, rc, -1,
			rc == -EHOSTUNREACH ? MIN_OF(x->r->o.attempts, LOOKUP_ATTEMPTS)
					    : x->r->o.attempts);
	else
		over(x, rc);
}

void exchange_step(struct exchange *x)
{
	if (x->state == EXCHANGE_WAITING) {
		if (clock_mono_ns() >= x->due_ns)
			start(x);
		else
			note_due(x);
	} else if (x->state == EXCHANGE_RUNNING && http_done(x->t)) {
		ended(x);
	}
}

int exchange_run(struct exchange *x, struct err *err)
{
	int rc;

	for (;;) {
		exchange_step(x);
		if (x->state == EXCHANGE_DONE)
			break;
		rc = registry_poll(x->r, 1000, err);
		if (rc < 0)
			return rc;
	}
	if (x->rc < 0 && err)
		*err = x->err;
	return x->rc;
}
