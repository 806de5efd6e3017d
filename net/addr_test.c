/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "lib/num.h"
#include "net/addr.h"

static struct ip_addr ip(const char *s)
{
	struct ip_addr a;

	if (ip_parse(s, &a) < 0)
		fail_msg("not an address: %s", s);
	return a;
}

static void test_parse(void **state)
{
	static const char *const good[] = { "1.2.3.4", "0.0.0.0", "255.255.255.255", "::", "::1",
		"fd42:6d73:62::2" };
	static const char *const bad[] = { "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4",
		"0x7f.0.0.1", "2130706433", "017700000001", "1.2.3.4 ", " 1.2.3.4", "fe80::1%eth0",
		":::", "1::2::3", "g::1" };
	struct ip_addr a;
	char text[IP_STRLEN];

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		a = ip(good[i]);
		assert_string_equal(ip_format(&a, text), good[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_not_equal(ip_parse(bad[i], &a), 0);
	a = ip("::ffff:1.2.3.4");
	assert_string_equal(ip_format(&a, text), "1.2.3.4");
}

static void test_cidr(void **state)
{
	static const char *const bad[] = { "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "/8", "::/129",
		"10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8", "x/8", "::ffff:0.0.0.0/90" };
	struct ip_cidr c;
	char text[IP_STRLEN];
	struct ip_addr a;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_not_equal(cidr_parse(bad[i], &c), 0);
	assert_int_equal(cidr_parse("10.9.8.7/8", &c), 0); /* host bits may be set */
	a = ip("10.255.0.1");
	assert_true(cidr_contains(&c, &a));
	a = ip("11.0.0.1");
	assert_false(cidr_contains(&c, &a));
	a = ip("::1");
	assert_false(cidr_contains(&c, &a));
	assert_int_equal(cidr_parse("0.0.0.0/0", &c), 0);
	assert_false(cidr_contains(&c, &a));
	assert_int_equal(cidr_parse("::/0", &c), 0);
	assert_true(cidr_contains(&c, &a));
	a = ip("1.2.3.4");
	assert_false(cidr_contains(&c, &a)); /* families never mix */
	assert_int_equal(cidr_parse("fd00::/7", &c), 0);
	a = ip("fc00::1");
	assert_true(cidr_contains(&c, &a));
	assert_int_equal(cidr_parse("::ffff:10.0.0.0/104", &c), 0);
	assert_string_equal(cidr_format(&c, text), "10.0.0.0/8");
}

static void test_ip_port(void **state)
{
	static const char *const bad[] = { "1.2.3.4", "1.2.3.4:", "1.2.3.4:65536", "::1:53",
		"[1.2.3.4]:5", "[::1]5", "[::1", "[]:5", ":5", "" };
	struct ip_port p;
	char text[IP_STRLEN];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_not_equal(ip_port_parse(bad[i], &p), 0);
	assert_int_equal(ip_port_parse("1.2.3.4:5", &p), 0);
	assert_string_equal(ip_port_format(&p.addr, p.port, text), "1.2.3.4:5");
	assert_int_equal(ip_port_parse("[2606::1]:53", &p), 0);
	assert_string_equal(ip_port_format(&p.addr, p.port, text), "[2606::1]:53");
}

static void test_classes(void **state)
{
	static const struct {
		const char *addr;
		enum ip_class class;
	} rows[] = {
		{ "127.0.0.1", IP_CLASS_LOOPBACK },
		{ "127.255.255.255", IP_CLASS_LOOPBACK },
		{ "::1", IP_CLASS_LOOPBACK },
		{ "10.0.0.1", IP_CLASS_PRIVATE },
		{ "172.16.0.1", IP_CLASS_PRIVATE },
		{ "172.31.255.255", IP_CLASS_PRIVATE },
		{ "172.32.0.0", IP_CLASS_PUBLIC },
		{ "192.168.1.1", IP_CLASS_PRIVATE },
		{ "100.64.0.1", IP_CLASS_PRIVATE },
		{ "100.128.0.1", IP_CLASS_PUBLIC },
		{ "fd00::1", IP_CLASS_PRIVATE },
		{ "fec0::1", IP_CLASS_PRIVATE },
		{ "169.254.169.254", IP_CLASS_METADATA },
		{ "fd00:ec2::254", IP_CLASS_METADATA },
		{ "169.254.169.253", IP_CLASS_LINK_LOCAL },
		{ "fe80::1", IP_CLASS_LINK_LOCAL },
		{ "224.0.0.1", IP_CLASS_MULTICAST },
		{ "ff02::1", IP_CLASS_MULTICAST },
		{ "0.0.0.0", IP_CLASS_NONE },
		{ "0.1.2.3", IP_CLASS_NONE },
		{ "::", IP_CLASS_NONE },
		{ "::10.0.0.1", IP_CLASS_NONE },
		{ "255.255.255.255", IP_CLASS_NONE },
		{ "240.0.0.1", IP_CLASS_NONE },
		{ "8.8.8.8", IP_CLASS_PUBLIC },
		{ "2606:4700::1", IP_CLASS_PUBLIC },
		/* what another name for an address is classed as */
		{ "::ffff:127.0.0.1", IP_CLASS_LOOPBACK },
		{ "::ffff:169.254.169.254", IP_CLASS_METADATA },
		{ "64:ff9b::7f00:1", IP_CLASS_LOOPBACK },
		{ "64:ff9b::808:808", IP_CLASS_PUBLIC },
		{ "2002:a00:1::1", IP_CLASS_PRIVATE },
		{ "64:ff9b:1::1", IP_CLASS_PRIVATE },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip_addr a = ip(rows[i].addr);

		if (ip_classify(&a) != rows[i].class)
			fail_msg("%s is of class %d", rows[i].addr, ip_classify(&a));
	}
}

static void test_reserved(void **state)
{
	static const char *const reserved[] = { "0.1.2.3", "10.1.1.1", "100.64.1.1", "127.0.0.1",
		"169.254.1.1", "172.20.0.1", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.0.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
		"240.0.0.1", "255.255.255.255", "::1", "::", "fc00::1", "fdff::1", "fe80::1",
		"fec0::1", "ff02::1", "100::1", "64:ff9b:1::1", "64:ff9b::a00:1", "2001:db8::1",
		"3fff::1", "::ffff:10.0.0.1", "fd00:ec2::254", "169.254.169.254" };
	static const char *const fine[] = { "1.1.1.1", "192.0.1.1", "198.20.0.1", "223.255.255.255",
		"2606:4700::1", "100:0:0:1::1", "2001:db9::1", "64:ff9b::101:101" };

	for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
		struct ip_addr a = ip(reserved[i]);

		if (!ip_is_reserved(&a))
			fail_msg("%s passes", reserved[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(fine); i++) {
		struct ip_addr a = ip(fine[i]);

		if (ip_is_reserved(&a))
			fail_msg("%s is refused", fine[i]);
	}
}

static void test_sockaddr(void **state)
{
	static const char *const rows[] = { "1.2.3.4", "2001:db8::5" };
	struct sockaddr_storage ss;
	uint16_t port = 0;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip_addr a = ip(rows[i]), b;

		(void)ip_to_sockaddr(&a, 4711, &ss);
		assert_true(ip_from_sockaddr(&ss, &b, &port));
		assert_true(ip_equal(&a, &b));
		assert_int_equal(port, 4711);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_cidr),
		cmocka_unit_test(test_ip_port),
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_sockaddr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
