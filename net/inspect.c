/* SPDX-License-Identifier: Apache-2.0 */
#include "net/inspect.h"

#include <stdbool.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/num.h"
#include "net/http.h"

/* --- TLS: the server_name extension of a ClientHello (RFC 8446 4.1.2, RFC 6066 3) --- */

#define TLS_HANDSHAKE	 22
#define TLS_CLIENT_HELLO 1
#define TLS_EXT_SNI	 0

/* A vector with a length of @len_bytes in front. */
static struct cursor vector(struct cursor *c, unsigned len_bytes)
{
	size_t n = len_bytes == 1 ? cursor_u8(c) : cursor_be16(c);
	const uint8_t *p = cursor_bytes(c, n);
	struct cursor v = cursor_init(p, p ? n : 0);

	v.failed = !p;
	return v;
}

static enum inspect_result read_sni(struct cursor ext, char *ret_name)
{
	struct cursor list = vector(&ext, 2);

	while (cursor_left(&list)) {
		uint8_t kind = cursor_u8(&list);
		struct cursor name = vector(&list, 2);

		if (list.failed)
			break;
		if (kind == 0)
			return name_canon((const char *)name.data, name.len, ret_name) == 0
				       ? INSPECT_TLS_NAME
				       : INSPECT_TLS_ANON;
	}
	return INSPECT_TLS_ANON;
}

static enum inspect_result read_hello(struct cursor *c, char *ret_name)
{
	struct cursor exts;

	(void)cursor_bytes(c, 2 + 32);
	(void)vector(c, 1); /* session id */
	(void)vector(c, 2); /* cipher suites */
	(void)vector(c, 1); /* compression */
	exts = vector(c, 2);
	while (cursor_left(&exts)) {
		uint16_t kind = cursor_be16(&exts);
		struct cursor ext = vector(&exts, 2);

		if (exts.failed)
			break;
		if (kind == TLS_EXT_SNI)
			return read_sni(ext, ret_name);
	}
	return INSPECT_TLS_ANON;
}

/* Joins handshake records into @dst. Return: false when they turn out not to be such. */
static bool join_records(struct cursor *c, uint8_t *dst, size_t *ret_len)
{
	*ret_len = 0;
	while (cursor_left(c)) {
		uint8_t type = cursor_u8(c), major = cursor_u8(c);
		size_t n, have;

		(void)cursor_u8(c);
		n = cursor_be16(c);
		if (c->failed)
			return true;
		if (type != TLS_HANDSHAKE || major != 3 || !n)
			return false;
		have = MIN_OF(n, cursor_left(c));
		memcpy(dst + *ret_len, cursor_bytes(c, have), have);
		*ret_len += have;
	}
	return true;
}

static enum inspect_result inspect_tls(const uint8_t *p, size_t len, char *ret_name)
{
	uint8_t joined[INSPECT_MAX];
	struct cursor c = cursor_init(p, MIN_OF(len, (size_t)INSPECT_MAX));
	bool ok = join_records(&c, joined, &len);
	size_t hello;

	if (!ok || (len && joined[0] != TLS_CLIENT_HELLO))
		return INSPECT_NONE;
	if (len < 4)
		return INSPECT_MORE;
	hello = (size_t)joined[1] << 16 | load_be16(joined + 2);
	if (hello > INSPECT_MAX - 4)
		return INSPECT_TLS_ANON;
	if (len < 4 + hello)
		return INSPECT_MORE;
	c = cursor_init(joined + 4, hello);
	return read_hello(&c, ret_name);
}

/* --- either --- */

enum inspect_result inspect_first_bytes(const uint8_t *p, size_t len, char ret_name[NAME_BUF])
{
	int http;

	if (!p || !len)
		return INSPECT_MORE;
	if (p[0] == TLS_HANDSHAKE)
		return inspect_tls(p, len, ret_name);
	http = http_looks_like(p, len);
	if (http == 0 && len < INSPECT_MAX)
		return INSPECT_MORE;
	return http > 0 ? INSPECT_HTTP : INSPECT_NONE;
}
