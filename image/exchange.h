/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the registry client: endpoints, and one request with all its attempts. */
#ifndef IMAGE_EXCHANGE_H
#define IMAGE_EXCHANGE_H

#include "image/auth.h"
#include "image/challenge.h"
#include "image/http.h"
#include "image/registry.h"

/*
 * struct endpoint - a host that answers for the repository
 * @name: under which credentials and settings are kept
 * @host: which is connected to
 * @plain: by http, as the user allowed
 * @authorization: header that it wants to see; NULL: none yet. Of a token until @expires_ns.
 * @private_peer: it lives in a private network itself
 */
struct endpoint {
	char *name;
	const char *host;
	bool plain;
	bool is_mirror;
	struct challenge challenge;
	struct credentials credentials;
	bool credentials_known;
	char *authorization;
	uint64_t expires_ns;
	bool private_peer;
};

struct registry {
	struct registry_options o;
	struct reference ref;
	struct http *http;
	struct buf ca_pem;
	struct endpoint *endpoints;
	size_t endpoint_count;
	unsigned seed;
	uint64_t next_retry_ns; /* of whoever waits; 0: nobody */
};

/* endpoint_authorize() - after a 401 with @challenge, or when the token is old: get what to show.
 * Blocks. */
int endpoint_authorize(
	struct registry *r, struct endpoint *ep, const char *challenge, struct err *err);

/* endpoint_fresh() - is there an authorization that has not expired, or none needed? */
bool endpoint_fresh(const struct endpoint *ep);
void endpoint_forget(struct endpoint *ep);
void endpoint_release(struct endpoint *ep);

/*
 * struct exchange_request - what to ask an endpoint
 * @path: below /v2/, or NULL: @url is the whole
 * @rewind: called before each attempt: forget what came, or set *from to go on behind it
 * @body: as http_body_fn, offsets are right: bytes before *from that come all the same are cut
 */
struct exchange_request {
	const char *path;
	const char *url;
	const char *authorization; /* with @url: instead of the endpoint's */
	const char *accept;
	const char *form;
	uint64_t body_max;
	unsigned total_ms;
	int (*rewind)(void *ctx, uint64_t *from);
	http_body_fn *body;
	void *ctx;
};

enum exchange_state { EXCHANGE_WAITING, EXCHANGE_RUNNING, EXCHANGE_DONE };

struct exchange {
	struct registry *r;
	struct endpoint *ep;
	struct exchange_request q;
	char *url;
	bool foreign; /* redirected to another host: show it nothing */
	unsigned redirects, attempts;
	bool authorized; /* the second 401 in a row is final */
	uint64_t due_ns;
	enum exchange_state state;
	struct http_transfer *t;
	uint64_t from, skip, got;
	uint64_t base, reached; /* where @got counts from; the most that any attempt came to */
	int rc;
	struct err err;
};

/* exchange_init() - never blocks; the first exchange_step() starts it */
int exchange_init(struct exchange *x, struct registry *r, struct endpoint *ep,
	const struct exchange_request *q, struct err *err);
void exchange_release(struct exchange *x);

/* exchange_step() - do what is due; x->state says whether it is over, x->rc and x->err how */
void exchange_step(struct exchange *x);

/* exchange_run() - until it is over. Return: x->rc. The response is valid until the release. */
int exchange_run(struct exchange *x, struct err *err);

#endif
