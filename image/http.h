/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP requests to strangers, many at once in one thread. A thin layer over libcurl's multi
 * interface with our rules built in: nothing but http and https, no redirect followed by itself,
 * a limit on every body, a deadline on every wait. Proxies come from the environment
 * (http_proxy, https_proxy, all_proxy, no_proxy, also in capitals); not for loopback.
 */
#ifndef IMAGE_HTTP_H
#define IMAGE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

#define HTTP_URL_MAX 8192

/*
 * struct http_settings
 * @ca_pem: certificates to trust beside the system's (PEM), or NULL; used while requests start
 * @ca_pem_only: in place of the system's
 */
struct http_settings {
	const char *ca_pem;
	size_t ca_pem_len;
	bool ca_pem_only;
	unsigned connect_timeout_ms, idle_timeout_ms;
};

struct http;

int http_new(const struct http_settings *s, struct http **ret, struct err *err);
void http_free(struct http *h); /* after all its transfers */

/* Takes @len bytes of a body; 0, or -errno which ends the transfer with that error. */
typedef int http_body_fn(void *ctx, const void *data, size_t len);

/*
 * struct http_request - what to ask; texts are copied
 * @authorization: value of that header, or NULL
 * @accept:        value of that header, or NULL
 * @form:          body of a POST (application/x-www-form-urlencoded); NULL: a GET
 * @from:          first byte wanted
 * @body:          gets the body of a 200 or 206; of others the start is kept for the error
 * @body_max:      more than so many bytes are -EBADMSG
 * @total_ms:      for the whole exchange; 0: only connecting and silence have deadlines
 * @plain_ok:      may the URL be http:? Otherwise -EPERM
 * @public_only:   refuse to connect to loopback, link-local and private addresses
 */
struct http_request {
	const char *url;
	const char *authorization;
	const char *accept;
	const char *form;
	uint64_t from;
	http_body_fn *body;
	void *body_ctx;
	uint64_t body_max;
	unsigned total_ms;
	bool plain_ok;
	bool public_only;
};

/*
 * struct http_response - the headers that matter; texts are "" when absent
 * @status:     0: there was no response, and @failed says why
 * @challenge:  WWW-Authenticate, all of them, one per line
 * @range_from: start of the part that a 206 gives; -1: not said
 * @retry_after_s: -1: not said
 * @message:    why the registry refused, by its own (cleaned) words
 */
struct http_response {
	long status;
	char content_type[128];
	char content_encoding[64]; /* which is not undone; fit for a terminal */
	char digest[192];
	char location[HTTP_URL_MAX];
	char challenge[4096];
	char message[160];
	int64_t range_from;
	int64_t length;
	int retry_after_s;
	bool private_peer; /* the address connected to is loopback, link-local or private */
};

struct http_transfer;

/* http_start() - begin; never blocks. Return: 0 and *ret, which http_finish() ends. */
int http_start(
	struct http *h, const struct http_request *q, struct http_transfer **ret, struct err *err);

/* http_done() - has it ended, one way or the other? */
bool http_done(const struct http_transfer *t);

/*
 * http_result() - how it ended: only when http_done()
 * Return: 0 there is a whole response, of whatever status; -errno and a line that names the host
 */
int http_result(const struct http_transfer *t, struct err *err);
const struct http_response *http_response(const struct http_transfer *t);

/* http_host_of() - "https://host:port" of a URL, for errors: no user, no password. free() it. */
char *http_host_of(const char *url);

/* http_retryable() - may the same request do better later, after @rc from http_result()? */
bool http_retryable(int rc);

/* http_finish() - end it, running or done. NULL is fine. */
void http_finish(struct http_transfer *t);

/*
 * http_poll() - let all transfers make progress; wait for the network at most @timeout_ms
 * Return: 0, or -errno when libcurl itself failed
 */
int http_poll(struct http *h, int timeout_ms, struct err *err);

/* http_wake() - end a http_poll() that waits, from another thread. */
void http_wake(struct http *h);

/* http_wait() - poll until @t is done. Its deadlines bound this. */
int http_wait(struct http *h, const struct http_transfer *t, struct err *err);

static inline void http_transfer_cleanup(struct http_transfer **t)
{
	http_finish(*t);
}

#define cleanup_transfer __attribute__((cleanup(http_transfer_cleanup)))

#endif
