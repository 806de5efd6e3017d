/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "lib/num.h"
#include "net/dns_msg.h"
#include "net/inspect.h"

/* struct msg - a message being written */
struct msg {
	uint8_t b[2048];
	size_t len;
};

static void put(struct msg *m, const void *p, size_t n)
{
	memcpy(m->b + m->len, p, n);
	m->len += n;
}

static void put16(struct msg *m, uint16_t v)
{
	store_be16(m->b + m->len, v);
	m->len += 2;
}

static void put_name(struct msg *m, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		m->b[m->len++] = (uint8_t)n;
		put(m, name, n);
		name += n + (name[n] == '.');
	}
	m->b[m->len++] = 0;
}

static struct msg header(
	uint16_t flags, uint16_t questions, uint16_t answers, const char *name, uint16_t type)
{
	struct msg m = { .len = 0 };

	put16(&m, 0x1234);
	put16(&m, flags);
	put16(&m, questions);
	put16(&m, answers);
	put16(&m, 0);
	put16(&m, 0);
	put_name(&m, name);
	put16(&m, type);
	put16(&m, DNS_CLASS_IN);
	return m;
}

static void put_record(struct msg *m, const char *owner, uint16_t type, uint16_t ttl,
	const void *data, uint16_t len)
{
	put_name(m, owner);
	put16(m, type);
	put16(m, DNS_CLASS_IN);
	put16(m, 0);
	put16(m, ttl);
	put16(m, len);
	put(m, data, len);
}

static const uint8_t one[] = { 1, 1, 1, 1 }, two[] = { 2, 2, 2, 2 };

static void test_query(void **state)
{
	struct msg m = header(0x0100, 1, 0, "WWW.Example.com", DNS_TYPE_A);
	static const uint8_t opt[] = { 0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0 };
	struct dns_query q;

	assert_int_equal(dns_read_query(m.b, m.len, &q), 0);
	assert_string_equal(q.name, "www.example.com");
	assert_true(q.is_host);
	assert_int_equal(q.udp_max, 512);
	assert_int_equal(q.end, m.len);
	m.b[11] = 1;
	put(&m, opt, sizeof(opt));
	assert_int_equal(dns_read_query(m.b, m.len, &q), 0);
	assert_int_equal(q.udp_max, 4096);
	for (size_t cut = 0; cut < q.end; cut++)
		assert_true(dns_read_query(m.b, cut, &q) < 0);
	m = header(0x8100, 1, 0, "x.org", DNS_TYPE_A); /* an answer is no query */
	assert_int_equal(dns_read_query(m.b, m.len, &q), -EBADMSG);
	m = header(0x0100, 2, 0, "x.org", DNS_TYPE_A);
	assert_int_equal(dns_read_query(m.b, m.len, &q), -EINVAL);
	m = header(0x2900, 1, 0, "x.org", DNS_TYPE_A); /* an update */
	assert_int_equal(dns_read_query(m.b, m.len, &q), -EINVAL);
	m = header(0x0100, 1, 0, "we ird.org", DNS_TYPE_A);
	assert_int_equal(dns_read_query(m.b, m.len, &q), 0);
	assert_false(q.is_host);
}

static int answer(struct msg *m, struct dns_answer *a)
{
	struct msg q = header(0x0100, 1, 0, "x.org", DNS_TYPE_A);
	struct dns_query query;

	assert_int_equal(dns_read_query(q.b, q.len, &query), 0);
	return dns_read_answer(m->b, m->len, &query, 0x1234, a);
}

static void test_chain(void **state)
{
	static const uint8_t cname[] = "\x01y\x03org";
	struct msg m = header(0x8180, 1, 4, "X.org", DNS_TYPE_A);
	struct dns_answer a;

	put_record(&m, "y.org", DNS_TYPE_A, 300, one, 4); /* before the alias that leads to it */
	put_record(&m, "x.org", DNS_TYPE_CNAME, 60, cname, sizeof(cname));
	put_record(&m, "z.org", DNS_TYPE_A, 5, two, 4); /* nobody asked */
	put_record(&m, "Y.ORG", DNS_TYPE_A, 0, two, 4);
	assert_int_equal(answer(&m, &a), 0);
	assert_int_equal(a.n_addrs, 2);
	assert_int_equal(a.n_all, 3);
	assert_int_equal(a.ttl_s, 1); /* zero counts as one second */
}

static void test_cname_loop(void **state)
{
	static const uint8_t x[] = "\x01x\x03org", y[] = "\x01y\x03org";
	struct msg m = header(0x8180, 1, 2, "x.org", DNS_TYPE_A);
	struct dns_answer a;

	put_record(&m, "x.org", DNS_TYPE_CNAME, 60, y, sizeof(y));
	put_record(&m, "y.org", DNS_TYPE_CNAME, 60, x, sizeof(x));
	assert_int_equal(answer(&m, &a), 0);
	assert_int_equal(a.n_addrs, 0);
}

/* A name that is an alias has no addresses, whatever the answer says, nor do they pile up in a
 * loop. */
static void test_alias_with_an_address(void **state)
{
	static const uint8_t x[] = "\x01x\x03org";
	struct msg m = header(0x8180, 1, 2, "x.org", DNS_TYPE_A);
	struct dns_answer a;

	put_record(&m, "x.org", DNS_TYPE_A, 60, one, 4);
	put_record(&m, "x.org", DNS_TYPE_CNAME, 60, x, sizeof(x));
	assert_int_equal(answer(&m, &a), 0);
	assert_int_equal(a.n_addrs, 0);
	assert_int_equal(a.n_all, 1);
}

static void test_wrong_answers(void **state)
{
	struct msg m = header(0x8180, 1, 0, "y.org", DNS_TYPE_A);
	struct dns_answer a;

	assert_int_equal(answer(&m, &a), -EBADMSG); /* another name */
	m = header(0x8180, 1, 0, "x.org", DNS_TYPE_AAAA);
	assert_int_equal(answer(&m, &a), -EBADMSG);
	m = header(0x0180, 1, 0, "x.org", DNS_TYPE_A);
	assert_int_equal(answer(&m, &a), -EBADMSG); /* a query */
	m = header(0x8180, 1, 0, "x.org", DNS_TYPE_A);
	m.b[0] ^= 1;
	assert_int_equal(answer(&m, &a), -EBADMSG);
	m = header(0x8180, 1, 1, "x.org", DNS_TYPE_A); /* promises a record */
	assert_int_equal(answer(&m, &a), -EBADMSG);
	put_record(&m, "x.org", DNS_TYPE_A, 1, one, 4);
	for (size_t cut = 0; cut < m.len; cut++) {
		struct msg shorter = m;

		shorter.len = cut;
		assert_int_equal(answer(&shorter, &a), -EBADMSG);
	}
	assert_int_equal(answer(&m, &a), 0);
	m.len -= 16 + 5; /* owner is a pointer to itself */
	m.b[m.len] = 0xc0;
	m.b[m.len + 1] = (uint8_t)m.len;
	m.len += 21;
	assert_int_equal(answer(&m, &a), -EBADMSG);
}

static void test_short_answers(void **state)
{
	struct msg m = header(0x0100, 1, 0, "x.org", DNS_TYPE_A);
	struct ip_addr addr = IP_V4(9, 8, 7, 6);
	uint8_t out[DNS_SHORT_MAX];
	struct dns_query q;
	struct dns_answer a;
	size_t n;

	assert_int_equal(dns_read_query(m.b, m.len, &q), 0);
	n = dns_put_status(out, m.b, &q, DNS_NXDOMAIN, false);
	assert_int_equal(dns_read_answer(out, n, &q, 0x1234, &a), 0);
	assert_int_equal(a.rcode, DNS_NXDOMAIN);
	assert_int_equal(load_be16(out + 8), 0); /* no authority section */
	n = dns_put_address(out, m.b, &q, &addr, 60);
	assert_int_equal(dns_read_answer(out, n, &q, 0x1234, &a), 0);
	assert_int_equal(a.n_addrs, 1);
	assert_true(ip_equal(&a.addrs[0], &addr));
	assert_int_equal(a.ttl_s, 60);
}

/* --- names in first bytes --- */

/* A ClientHello naming @sni, split into records of @piece bytes. */
static size_t hello(uint8_t *dst, const char *sni, size_t piece)
{
	struct msg h = { .len = 0 };
	uint16_t n = (uint16_t)strlen(sni);
	uint8_t zero[64] = { 0 };
	size_t out = 0;

	put(&h, "\x01\0\0\0\x03\x03", 6);
	put(&h, zero, 32);
	put(&h, "\0\0\x02\x13\x01\x01\0", 7);
	put16(&h, (uint16_t)(n ? 4 + 4 + 5 + n : 4));
	put(&h, "\0\x17\0\0", 4); /* another extension first */
	if (n) {
		put16(&h, 0);
		put16(&h, (uint16_t)(5 + n));
		put16(&h, (uint16_t)(3 + n));
		h.b[h.len++] = 0;
		put16(&h, n);
		put(&h, sni, n);
	}
	store_be16(h.b + 2, (uint16_t)(h.len - 4));
	for (size_t i = 0; i < h.len; i += piece) {
		size_t part = MIN_OF(piece, h.len - i);

		memcpy(dst + out, "\x16\x03\x01", 3);
		store_be16(dst + out + 3, (uint16_t)part);
		memcpy(dst + out + 5, h.b + i, part);
		out += 5 + part;
	}
	return out;
}

static void test_sni(void **state)
{
	uint8_t b[4096];
	char name[NAME_BUF];

	for (size_t piece = 1; piece < 200; piece += 33) {
		size_t n = hello(b, "WWW.Example.com.", piece);

		assert_int_equal(inspect_first_bytes(b, n, name), INSPECT_TLS_NAME);
		assert_string_equal(name, "www.example.com");
		for (size_t cut = 0; cut < n; cut++)
			assert_int_equal(inspect_first_bytes(b, cut, name), INSPECT_MORE);
	}
	assert_int_equal(inspect_first_bytes(b, hello(b, "", 500), name), INSPECT_TLS_ANON);
	assert_int_equal(inspect_first_bytes(b, hello(b, "a b", 500), name), INSPECT_TLS_ANON);
	assert_int_equal(inspect_first_bytes((const uint8_t *)"\x16\x02\x01\0\x05hello", 10, name),
		INSPECT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_cname_loop),
		cmocka_unit_test(test_alias_with_an_address),
		cmocka_unit_test(test_wrong_answers),
		cmocka_unit_test(test_short_answers),
		cmocka_unit_test(test_sni),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
