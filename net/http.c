/* SPDX-License-Identifier: Apache-2.0 */
#include "net/http.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "lib/num.h"

#define METHOD_MAX 24

/* struct line - without its end */
struct line {
	const char *p;
	size_t len;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* tchar, RFC 9110 5.6.2 */
static bool is_token(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c && strchr("!#$%&'*+-.^_`|~", c));
}

/*
 * Takes a line off the front of [*p, end); servers end one at a bare LF as well.
 * Return: 1; 0 not whole; -EBADMSG a CR or NUL in the middle
 */
static int take_line(const char **p, const char *end, struct line *ret)
{
	const char *lf = memchr(*p, '\n', (size_t)(end - *p));

	if (!lf)
		return 0;
	ret->p = *p;
	ret->len = (size_t)(lf - *p);
	if (ret->len && lf[-1] == '\r')
		ret->len--;
	*p = lf + 1;
	if (ret->len && (memchr(ret->p, '\r', ret->len) || memchr(ret->p, 0, ret->len)))
		return -EBADMSG;
	return 1;
}

static struct line trim(struct line l)
{
	while (l.len && is_blank(*l.p)) {
		l.p++;
		l.len--;
	}
	while (l.len && is_blank(l.p[l.len - 1]))
		l.len--;
	return l;
}

static bool line_is(struct line l, const char *word)
{
	return l.len == strlen(word) && !strncasecmp(l.p, word, l.len);
}

/* --- the request line --- */

/* "METHOD ... HTTP/d.d", with whatever blanks a lenient server might take */
static bool is_request_line(struct line l)
{
	static const char version[] = "HTTP/1.";
	size_t n = 0;

	l = trim(l);
	while (n < l.len && n < METHOD_MAX && is_token(l.p[n]))
		n++;
	if (!n || n == l.len || !is_blank(l.p[n]) || l.len < n + 2 + 8)
		return false;
	return !strncasecmp(l.p + l.len - 8, version, 7) && is_blank(l.p[l.len - 9]);
}

/* Empty lines before a request are skipped, as servers do. */
static const char *skip_empty(const char *p, const char *end)
{
	while (p < end && (*p == '\r' || *p == '\n'))
		p++;
	return p;
}

int http_looks_like(const uint8_t *bytes, size_t len)
{
	const char *end = (const char *)bytes + len, *p = skip_empty((const char *)bytes, end);
	size_t n = 0, have = (size_t)(end - p);
	struct line l;

	if (take_line(&p, end, &l) != 0)
		return is_request_line(l) ? 1 : -1;
	while (have && is_blank(*p)) {
		p++;
		have--;
	}
	while (n < have && n < METHOD_MAX && is_token(p[n]))
		n++;
	if (n == have)
		return 0; /* a blank may follow, even behind the longest method */
	return n && is_blank(p[n]) ? 0 : -1;
}

/* "host[:port]" to a canonical name; "" for what is none. Return: 0; -EBADMSG */
static int read_authority(struct line l, char ret[NAME_BUF])
{
	const char *colon;

	*ret = '\0';
	if (l.len && memchr(l.p, '@', l.len))
		return -EBADMSG;
	if (!l.len || *l.p == '[')
		return 0;
	colon = memchr(l.p, ':', l.len);
	if (colon)
		l.len = (size_t)(colon - l.p);
	if (name_canon(l.p, l.len, ret) < 0)
		return -EBADMSG;
	return 0;
}

/* struct names - hosts by the target and by the Host field */
struct names {
	bool by_target, by_field;
	char target[NAME_BUF], field[NAME_BUF];
};

/* CONNECT's target is an authority; others may be absolute and then outweigh the Host field. */
static int read_target(struct line target, bool connect, struct names *n)
{
	const char *scheme = memmem(target.p, target.len, "://", 3);
	size_t len;

	if (!connect) {
		if (*target.p == '/' || !scheme)
			return 0;
		target.len -= (size_t)(scheme + 3 - target.p);
		target.p = scheme + 3;
		for (len = 0; len < target.len && !strchr("/?#", target.p[len]); len++)
			;
		target.len = len;
	}
	n->by_target = true;
	return read_authority(target, n->target);
}

static int read_request_line(struct line l, struct http_request *ret, struct names *names)
{
	const char *one = memchr(l.p, ' ', l.len), *two = memrchr(l.p, ' ', l.len);
	struct line method, target;
	bool connect;

	if (!is_request_line(l) || !one || two <= one + 1 || l.p + l.len - two != 9)
		return -EBADMSG;
	method = (struct line){ l.p, (size_t)(one - l.p) };
	target = (struct line){ one + 1, (size_t)(two - one - 1) };
	for (size_t i = 0; i < method.len; i++) {
		if (!is_token(method.p[i]))
			return -EBADMSG;
	}
	if (memchr(target.p, ' ', target.len) || memchr(target.p, '\t', target.len))
		return -EBADMSG;
	connect = line_is(method, "CONNECT");
	ret->connect = connect;
	return read_target(target, connect, names);
}

/* --- fields --- */

/* struct fields - what has been seen of those that matter */
struct fields {
	bool length, coding;
};

static int read_length(struct line v, uint64_t *ret)
{
	*ret = 0;
	if (!v.len || v.len > 18)
		return -EBADMSG;
	for (size_t i = 0; i < v.len; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return -EBADMSG;
		*ret = *ret * 10 + (uint64_t)(v.p[i] - '0');
	}
	return 0;
}

static int take_field(struct line name, struct line value, struct http_request *ret,
	struct names *names, struct fields *seen)
{
	bool twice = false;
	int rc = 0;

	if (line_is(name, "host")) {
		twice = names->by_field;
		names->by_field = true;
		rc = read_authority(value, names->field);
	} else if (line_is(name, "content-length")) {
		twice = seen->length;
		seen->length = true;
		rc = read_length(value, &ret->body_len);
	} else if (line_is(name, "transfer-encoding")) {
		twice = seen->coding;
		seen->coding = ret->chunked = true;
		rc = line_is(value, "chunked") ? 0 : -EBADMSG; /* no client sends another */
	} else if (line_is(name, "upgrade")) {
		ret->upgrade = true;
	}
	return twice ? -EBADMSG : rc;
}

static int read_field(
	struct line l, struct http_request *ret, struct names *names, struct fields *seen)
{
	const char *colon = memchr(l.p, ':', l.len);
	struct line name, value;

	if (!colon || colon == l.p)
		return -EBADMSG;
	name = (struct line){ l.p, (size_t)(colon - l.p) };
	value = (struct line){ colon + 1, l.len - name.len - 1 };
	for (size_t i = 0; i < name.len; i++) { /* no folded line, no blank before the colon */
		if (!is_token(name.p[i]))
			return -EBADMSG;
	}
	return take_field(name, trim(value), ret, names, seen);
}

static int settle(struct http_request *ret, const struct names *n, const struct fields *seen)
{
	if (seen->length && seen->coding)
		return -EBADMSG;
	if (n->by_target && n->by_field && strcmp(n->target, n->field) != 0)
		return -EBADMSG;
	memcpy(ret->name, n->by_target ? n->target : n->field, NAME_BUF);
	return 0;
}

int http_read_head(const uint8_t *bytes, size_t len, struct http_request *ret)
{
	const char *start = (const char *)bytes, *end = start + len;
	const char *p = skip_empty(start, end);
	struct names names = { 0 };
	struct fields seen = { 0 };
	bool first = true;
	struct line l;
	int rc;

	memset(ret, 0, sizeof(*ret));
	for (;;) {
		rc = take_line(&p, end, &l);
		if (rc == 0 && len >= HTTP_HEAD_MAX)
			rc = -EBADMSG;
		if (rc <= 0)
			return rc;
		if (!first && !l.len)
			break;
		rc = first ? read_request_line(l, ret, &names) : read_field(l, ret, &names, &seen);
		if (rc < 0)
			return rc;
		first = false;
	}
	rc = settle(ret, &names, &seen);
	if (rc == 0 && p - start > HTTP_HEAD_MAX)
		rc = -EBADMSG;
	return rc < 0 ? rc : (int)(p - start);
}

/* --- a connection --- */

static void body_ended(struct http_stream *h)
{
	h->state = h->wait_after ? HTTP_WAIT : HTTP_HEAD;
	h->wait_after = false;
}

static void head_ended(struct http_stream *h, const struct http_request *r)
{
	/* behind other answers the one that grants a tunnel could not be told from them */
	h->wait_after = (r->connect || r->upgrade) && !h->any;
	h->connect = r->connect;
	h->any = true;
	h->left = r->body_len;
	if (r->chunked)
		h->state = HTTP_CHUNK_SIZE;
	else if (h->left)
		h->state = HTTP_BODY;
	else
		body_ended(h);
}

/* "hex[;extension]" */
static int read_chunk_size(struct line l, uint64_t *ret)
{
	size_t n = 0;

	*ret = 0;
	for (; n < l.len; n++) {
		char c = (char)(l.p[n] | 0x20);
		bool digit = l.p[n] >= '0' && l.p[n] <= '9';

		if (!digit && !(c >= 'a' && c <= 'f'))
			break;
		*ret = *ret << 4 | (uint64_t)(digit ? l.p[n] - '0' : c - 'a' + 10);
	}
	if (!n || n > 12 || (n < l.len && l.p[n] != ';'))
		return -EBADMSG;
	return 0;
}

/* One line of a chunked body. Return: bytes, 0 for more, -EBADMSG. */
static int chunk_line(struct http_stream *h, const char *p, size_t len)
{
	const char *start = p;
	struct line l;
	int rc = take_line(&p, start + len, &l);

	if (rc == 0)
		return len >= HTTP_HEAD_MAX ? -EBADMSG : 0;
	if (rc < 0 || p - start > HTTP_HEAD_MAX)
		return -EBADMSG;
	if (h->state == HTTP_CHUNK_SIZE) {
		if (read_chunk_size(l, &h->left) < 0)
			return -EBADMSG;
		h->state = h->left ? HTTP_CHUNK_DATA : HTTP_TRAILER;
	} else if (h->state == HTTP_CHUNK_END) {
		if (l.len)
			return -EBADMSG;
		h->state = HTTP_CHUNK_SIZE;
	} else if (!l.len) {
		body_ended(h);
	}
	return (int)(p - start);
}

/* Bytes of a known number. */
static size_t walk_data(struct http_stream *h, size_t len)
{
	size_t n = h->left < len ? (size_t)h->left : len;

	h->left -= n;
	if (h->left)
		return n;
	if (h->state == HTTP_CHUNK_DATA)
		h->state = HTTP_CHUNK_END;
	else
		body_ended(h);
	return n;
}

static int walk_head(struct http_stream *h, const uint8_t *p, size_t len, struct http_request *ret)
{
	int n = http_read_head(p, len, ret);

	if (n > 0)
		head_ended(h, ret);
	if (n == 0 && http_looks_like(p, len) < 0)
		return -EBADMSG; /* it will not become one */
	return n;
}

size_t http_next(struct http_stream *h, const uint8_t *p, size_t len, enum http_event *ret_event,
	struct http_request *ret)
{
	size_t at = 0;

	*ret_event = HTTP_MORE;
	while (at < len) {
		bool head = h->state == HTTP_HEAD;
		int n;

		if (h->state == HTTP_TUNNEL)
			return len;
		if (h->state == HTTP_WAIT)
			return at;
		if (h->state == HTTP_BODY || h->state == HTTP_CHUNK_DATA) {
			at += walk_data(h, len - at);
			continue;
		}
		n = head ? walk_head(h, p + at, len - at, ret)
			 : chunk_line(h, (const char *)p + at, len - at);
		if (n <= 0) {
			*ret_event = n < 0 ? HTTP_BAD : HTTP_MORE;
			return at;
		}
		at += (size_t)n;
		if (head) {
			*ret_event = HTTP_REQUEST;
			return at;
		}
	}
	return at;
}

void http_answered(struct http_stream *h, const uint8_t *p, size_t len)
{
	static const char version[] = "HTTP/1.";
	bool yes = false;

	if (h->state != HTTP_WAIT)
		return;
	if (len >= 12 && !memcmp(p, version, 7) && p[8] == ' ')
		yes = h->connect ? p[9] == '2' : !memcmp(p + 9, "101", 3);
	h->state = yes ? HTTP_TUNNEL : HTTP_HEAD;
}
