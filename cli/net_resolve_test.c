/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>
#include <netdb.h>

#include "cli/net_resolve.h"

#define PATIENCE_MS 60000

static int look_here(const char *name, struct ip_addr *ret)
{
	if (strcmp(name, "dns.example") != 0)
		return EAI_NONAME;
	return ip_parse("192.0.2.7", ret) == 0 ? 0 : EAI_FAIL;
}

static int look_for_ever(const char *name, struct ip_addr *ret)
{
	while (pause() < 0) {
	}
	return EAI_FAIL;
}

static int die(const char *name, struct ip_addr *ret)
{
	_exit(3);
}

static void config_with(struct net_config *c, const char *server)
{
	assert_int_equal(net_config_init(c, NULL), 0);
	assert_int_equal(net_config_add_nameserver(c, "1.1.1.1", NULL), 0);
	assert_int_equal(net_config_add_nameserver(c, server, NULL), 0);
}

static void expect(const char *server, const char *want)
{
	struct net_config c;
	struct err err = ERR_INIT;

	config_with(&c, server);
	if (net_resolve_nameservers(&c, look_here, PATIENCE_MS, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(c.nameservers[0], "1.1.1.1:53");
	assert_string_equal(c.nameservers[1], want);
	net_config_release(&c);
}

static void names_become_addresses(void **state)
{
	expect("dns.example", "192.0.2.7:53");
	expect(" DNS.example.:5353", "192.0.2.7:5353");
	expect("2606::1", "[2606::1]:53");
}

static void fails(const char *server, net_lookup_fn *lookup, unsigned timeout_ms, int code)
{
	struct net_config c;
	struct err err = ERR_INIT;

	config_with(&c, server);
	assert_int_equal(net_resolve_nameservers(&c, lookup, timeout_ms, &err), -code);
	assert_non_null(strstr(err.msg, server));
	assert_string_equal(c.nameservers[1], server);
	net_config_release(&c);
}

static void failures_name_the_server(void **state)
{
	fails("other.example:53", look_here, PATIENCE_MS, EHOSTUNREACH);
	fails("dns.example:53", look_for_ever, 1, ETIMEDOUT);
	fails("dns.example:53", die, PATIENCE_MS, ECHILD);
}

static void by_the_host(void **state)
{
	struct ip_addr a, v4, v6;

	assert_int_equal(ip_parse("127.0.0.1", &v4) + ip_parse("::1", &v6), 0);
	assert_int_equal(net_lookup_host("localhost", &a), 0);
	assert_true(ip_equal(&a, &v4) || ip_equal(&a, &v6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_become_addresses),
		cmocka_unit_test(failures_name_the_server),
		cmocka_unit_test(by_the_host),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
