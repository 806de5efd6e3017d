/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 requests on their way to a server (RFC 9112): where each begins, and which host it names.
 * Made for judging, not for serving: whatever two servers might read differently (two hosts, two
 * lengths, folded lines, blanks in odd places) is bad.
 */
#ifndef NET_HTTP_H
#define NET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/name.h"

#define HTTP_HEAD_MAX 16384 /* bytes of a request line with its fields; of a chunk size line */

/* struct http_request - what a head says */
struct http_request {
	char name[NAME_BUF];   /* host, canonical; "" when it names none (or an IPv6 address) */
	bool connect, upgrade; /* what follows may be another protocol */
	bool chunked;
	uint64_t body_len;
};

/*
 * http_looks_like() - could [p, p + len) be the beginning of a request?
 * Return: 1 yes: a whole request line is there, 0 perhaps, -1 no
 */
int http_looks_like(const uint8_t *p, size_t len);

/*
 * http_read_head() - a request line and its fields up to and with the empty line
 * Return: its length; 0 when it is not whole yet; -EBADMSG
 */
int http_read_head(const uint8_t *p, size_t len, struct http_request *ret);

enum http_state {
	HTTP_HEAD,
	HTTP_BODY,
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK_DATA,
	HTTP_CHUNK_END,
	HTTP_TRAILER,
	HTTP_WAIT,   /* for the server to say whether this becomes a tunnel */
	HTTP_TUNNEL, /* another protocol */
};

/* struct http_stream - a client's side of one connection; zero-initialised */
struct http_stream {
	uint64_t left; /* of a body or chunk */
	enum http_state state;
	bool wait_after; /* after this body: HTTP_WAIT */
	bool connect;	 /* for 2xx, else for 101 */
	bool any;	 /* there was a request */
};

enum http_event {
	HTTP_MORE,    /* nothing to judge until more comes */
	HTTP_REQUEST, /* a head: judge it, then call again behind it */
	HTTP_BAD,
};

/*
 * http_next() - walk over bytes that follow those walked over before
 * @ret: for HTTP_REQUEST
 * Return: how many bytes may pass, with HTTP_REQUEST if that is judged well
 */
size_t http_next(struct http_stream *h, const uint8_t *p, size_t len, enum http_event *ret_event,
	struct http_request *ret);

/* http_answered() - in HTTP_WAIT: the first bytes that the server ever sent, 12 or more */
void http_answered(struct http_stream *h, const uint8_t *p, size_t len);

#endif
