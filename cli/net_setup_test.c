/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/net_setup.h"

static void tells_the_guest_its_addresses(void **state)
{
	struct net_args a;
	struct net_setup n = { 0 };
	struct bootstrap boot = { 0 };

	assert_int_equal(net_args_init(&a, NULL), 0);
	a.want_v6 = true;
	assert_int_equal(net_args_finish(&a, NULL), 0);
	assert_int_equal(net_setup_make(&a, &n, NULL), 0);
	net_setup_tell(&n, &boot);
	assert_string_equal(boot.host_alias.s, "host.microsandbox.internal");
	assert_string_equal(boot.network.interface.s, "eth0");
	assert_int_equal(boot.network.mtu, 1500);
	assert_memory_equal(boot.network.mac.data, "\x02\x6d\x73\x00\x00\x02", 6);
	assert_int_equal(boot.network.ipv4.address.len, 4);
	assert_memory_equal(boot.network.ipv4.address.data, "\xac\x10\x00\x02", 4);
	assert_memory_equal(boot.network.ipv4.gateway.data, "\xac\x10\x00\x01", 4);
	assert_memory_equal(boot.network.ipv4.dns.data, "\xac\x10\x00\x01", 4);
	assert_int_equal(boot.network.ipv4.prefix_len, 30);
	assert_int_equal(boot.network.ipv6.address.len, 16);
	assert_memory_equal(boot.network.ipv6.address.data, "\xfd\x42\x6d\x73\x00\x62", 6);
	assert_int_equal(boot.network.ipv6.prefix_len, 64);
	assert_null(boot.host_cas.s);
	net_setup_release(&n);
	net_args_release(&a);
}

static void gives_the_hosts_certificates(void **state)
{
	struct net_args a;
	struct net_setup n = { 0 };
	struct bootstrap boot = { 0 };

	assert_int_equal(net_args_init(&a, NULL), 0);
	a.config.trust_host_cas = true;
	assert_int_equal(setenv("SSL_CERT_FILE", "/nonexistent", 1), 0);
	assert_int_equal(net_setup_make(&a, &n, NULL), 0); /* none: no reason to fail */
	net_setup_tell(&n, &boot);
	assert_null(boot.host_cas.s);
	net_setup_release(&n);
	net_args_release(&a);
}

static void no_network(void **state)
{
	struct net_setup none = { 0 };
	struct bootstrap boot = { 0 };

	net_setup_tell(&none, &boot);
	assert_null(boot.network.interface.s);
	net_setup_release(&none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_the_guest_its_addresses),
		cmocka_unit_test(gives_the_hosts_certificates),
		cmocka_unit_test(no_network),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
