/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a client's first flight and as a stream of HTTP requests. However the stream is cut
 * in pieces, the same requests must be found at the same places.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "net/http.h"
#include "net/inspect.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* struct walk - what came out of it */
struct walk {
	size_t passed;
	uint64_t requests; /* a hash over where they end and what they name */
	bool bad;
};

static void note(struct walk *w, const struct http_request *req)
{
	w->requests = w->requests * 31 + w->passed;
	for (const char *p = req->name; *p; p++)
		w->requests = w->requests * 31 + (uint8_t)*p;
}

static struct walk walk(const uint8_t *data, size_t len, size_t piece)
{
	struct http_stream h = { 0 };
	struct walk w = { 0 };

	for (size_t have = MIN_OF(piece, len);; have = MIN_OF(have + piece, len)) {
		enum http_event event;
		struct http_request req;
		bool waited;

		do {
			size_t n = http_next(&h, data + w.passed, have - w.passed, &event, &req);

			if (n > have - w.passed)
				abort();
			w.passed += n;
			w.bad = event == HTTP_BAD;
			if (event == HTTP_REQUEST)
				note(&w, &req);
			waited = h.state == HTTP_WAIT;
			http_answered(&h, data, len); /* sometimes grants a tunnel */
		} while (event == HTTP_REQUEST || (waited && !w.bad));
		if (w.bad || have == len)
			return w;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	char name[NAME_BUF];
	struct walk whole, pieces;

	if (inspect_first_bytes(data, len, name) == INSPECT_TLS_NAME && !*name)
		abort();
	if (len > 600) /* byte by byte it is quadratic */
		return 0;
	whole = walk(data, len, len);
	pieces = walk(data, len, 1);
	if (whole.bad != pieces.bad || (!whole.bad && (whole.passed != pieces.passed ||
							      whole.requests != pieces.requests)))
		abort();
	return 0;
}
