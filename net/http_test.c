/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/num.h"
#include "net/http.h"
#include "net/inspect.h"

static const uint8_t *bytes(const char *s)
{
	return (const uint8_t *)s;
}

static void test_looks_like(void **state)
{
	static const struct {
		const char *text;
		enum inspect_result want;
	} rows[] = {
		{ "", INSPECT_MORE },
		{ "GE", INSPECT_MORE },
		{ "GET / HTTP/1.1", INSPECT_MORE },
		{ "GET / HTTP/1.1\r\n", INSPECT_HTTP },
		{ "\r\n\nGET / HTTP/1.1\n", INSPECT_HTTP },
		{ " GET \t / HTTP/1.0 \r\n", INSPECT_HTTP },
		{ "GET / HTTP/0.9\r\n", INSPECT_NONE },
		{ "PRI * HTTP/2.0\r\n", INSPECT_NONE },
		{ "EHLO there\r\n", INSPECT_NONE },
		{ "SSH-2.0-OpenSSH_9\r\n", INSPECT_NONE },
		{ "*1\r\n$4\r\nPING\r\n", INSPECT_NONE },
		{ "\x01\x02", INSPECT_NONE },
		{ "ABCDEFGHIJKLMNOPQRSTUVWXYZ", INSPECT_NONE },
	};
	char name[NAME_BUF];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		enum inspect_result got =
			inspect_first_bytes(bytes(rows[i].text), strlen(rows[i].text), name);

		if (got != rows[i].want)
			fail_msg("row %zu: %d", i, got);
	}
}

static void test_heads(void **state)
{
	static const struct {
		const char *text, *name; /* NULL: bad; "?": more to come */
		uint64_t body;
	} rows[] = {
		{ "GET / HTTP/1.1\r\nA: b\r\nhOsT: \tX.org:8080 \r\n\r\n", "x.org", 0 },
		{ "GET / HTTP/1.1\nHost: X.org.\n\n", "x.org", 0 },
		{ "\r\nGET / HTTP/1.1\r\nHost: x.org\r\n\r\n", "x.org", 0 },
		{ "POST / HTTP/1.1\r\nHost: x.org\r\nContent-Length: 12\r\n\r\n", "x.org", 12 },
		{ "GET http://y.org:81/a HTTP/1.1\r\n\r\n", "y.org", 0 },
		{ "GET http://y.org?a HTTP/1.1\r\nHost: Y.ORG\r\n\r\n", "y.org", 0 },
		{ "GET /?u=http://z/ HTTP/1.1\r\nHost: x.org\r\n\r\n", "x.org", 0 },
		{ "CONNECT y.org:443 HTTP/1.1\r\nHost: y.org:443\r\n\r\n", "y.org", 0 },
		{ "OPTIONS * HTTP/1.1\r\nHost: x.org\r\n\r\n", "x.org", 0 },
		{ "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "", 0 },
		{ "GET / HTTP/1.1\r\nHost:\r\n\r\n", "", 0 },
		{ "GET / HTTP/1.0\r\n\r\n", "", 0 },
		{ "GET / HTTP/1.1\r\nX-Host: a.org\r\n\r\n", "", 0 },
		{ "GET / HTTP/1.1\r\nHost: a.org\r\n", "?", 0 },
		{ "GET http://y.org/ HTTP/1.1\r\nHost: x.org\r\n\r\n", NULL, 0 },
		{ "GET http://u@y.org/ HTTP/1.1\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nHost: a.org\r\nHost: a.org\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nHost : a.org\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nHost: a.org\r\n b.org\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nHost: a.org\rHost: b.org\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\nnonsense\r\n\r\n", NULL, 0 },
		{ "GET / HTTP/1.1\r\n: x\r\n\r\n", NULL, 0 },
		{ "GET  / HTTP/1.1\r\nHost: a.org\r\n\r\n", NULL, 0 },
		{ "GET\t/ HTTP/1.1\r\nHost: a.org\r\n\r\n", NULL, 0 },
		{ "GET / x HTTP/1.1\r\nHost: a.org\r\n\r\n", NULL, 0 },
		{ "P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", NULL, 0 },
		{ "P / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", NULL, 0 },
		{ "P / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", NULL,
			0 },
		{ "P / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", NULL, 0 },
	};
	struct http_request req;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t len = strlen(rows[i].text);
		int n = http_read_head(bytes(rows[i].text), len, &req);
		bool more = rows[i].name && *rows[i].name == '?';

		if (n != (!rows[i].name ? -EBADMSG : more ? 0 : (int)len))
			fail_msg("row %zu: %d", i, n);
		if (n <= 0)
			continue;
		if (strcmp(req.name, rows[i].name) != 0 || req.body_len != rows[i].body)
			fail_msg("row %zu: '%s'", i, req.name);
		for (size_t cut = 0; cut < len; cut++)
			assert_int_equal(http_read_head(bytes(rows[i].text), cut, &req), 0);
	}
}

static void test_no_head_is_endless(void **state)
{
	static uint8_t text[2 * HTTP_HEAD_MAX];
	struct http_request req;

	memset(text, 'a', sizeof(text));
	memcpy(text, "GET / HTTP/1.1\r\nA: ", 19);
	assert_int_equal(http_read_head(text, 1000, &req), 0);
	assert_int_equal(http_read_head(text, HTTP_HEAD_MAX, &req), -EBADMSG);
	memcpy(text + sizeof(text) - 4, "\r\n\r\n", 4);
	assert_int_equal(http_read_head(text, sizeof(text), &req), -EBADMSG);
}

/* Walks over @text in pieces of @piece; the names of its requests, joined. Return: false if bad. */
static bool walk(struct http_stream *h, const char *text, size_t piece, char names[256])
{
	size_t at = 0, len = strlen(text);

	names[0] = '\0';
	for (size_t have = MIN_OF(piece, len);; have = MIN_OF(have + piece, len)) {
		enum http_event event;
		struct http_request req;

		do {
			at += http_next(h, bytes(text) + at, have - at, &event, &req);
			if (event == HTTP_BAD)
				return false;
			if (event == HTTP_REQUEST) {
				(void)snprintf(names + strlen(names), 256 - strlen(names), "%s ",
					req.name);
			}
		} while (event == HTTP_REQUEST);
		if (have == len)
			return at == len;
	}
}

#define GET(host) "GET / HTTP/1.1\r\nHost: " host "\r\n\r\n"

static void test_streams(void **state)
{
	static const struct {
		const char *text, *names; /* NULL: bad or not passed to the end */
	} rows[] = {
		{ GET("a") GET("b") "\r\n" GET("c"), "a b c " },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n"
		  "GET / HTTP/1.1\r\nHost: nobody.example\r\n\r\n" GET("b"),
			"a b " },
		{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "5;x=y\r\nGET /\r\nA\r\n0123456789\r\n0\r\nHost: z\r\n\r\n" GET("b"),
			"a b " },
		{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123456\r\n", NULL },
		{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\n12345\r\n", NULL },
		{ "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffff\r\n", NULL },
		{ GET("a") "\x16\x03\x01", NULL }, { GET("a") "GET / HTTP/1.1\r\n", NULL },
		{ "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n\x81\x01", NULL },
		{ GET("a") "GET / HTTP/1.1\r\nHost: b\r\nUpgrade: websocket\r\n\r\n" GET("c"),
			"a b c " }, /* not the first: no tunnel will be granted */
	};
	char names[256];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t piece = 1; piece < 300; piece += 1 + piece / 8) {
			struct http_stream h = { 0 };
			bool ok = walk(&h, rows[i].text, piece, names);

			if (ok != (rows[i].names != NULL) ||
				(ok && strcmp(names, rows[i].names) != 0))
				fail_msg("row %zu, pieces of %zu: %d '%s'", i, piece, ok, names);
		}
	}
}

static void test_tunnels(void **state)
{
	static const char connect[] = "CONNECT a:1 HTTP/1.1\r\n\r\n";
	static const char upgrade[] = "GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n";
	static const struct {
		const char *ask, *answer;
		bool granted;
	} rows[] = {
		{ connect, "HTTP/1.1 200 OK", true },
		{ connect, "HTTP/1.1 101 S", false },
		{ connect, "HTTP/1.1 404 ", false },
		{ connect, "SSH-2.0-abcdef", false },
		{ connect, "HTTP/1.1", false },
		{ upgrade, "HTTP/1.1 101 S", true },
		{ upgrade, "HTTP/1.1 200 OK", false },
	};
	char names[256];

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct http_stream h = { 0 };

		assert_true(walk(&h, rows[i].ask, 100, names));
		assert_int_equal(h.state, HTTP_WAIT);
		http_answered(&h, bytes(rows[i].answer), strlen(rows[i].answer));
		if (walk(&h, "\x16\x03", 100, names) != rows[i].granted)
			fail_msg("row %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_looks_like),
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_no_head_is_endless),
		cmocka_unit_test(test_streams),
		cmocka_unit_test(test_tunnels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
