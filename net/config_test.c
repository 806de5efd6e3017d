/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "net/config.h"

static void parse(struct net_config *c, const char *text)
{
	struct err err = ERR_INIT;

	if (net_config_from_json(c, text, strlen(text), &err) < 0)
		fail_msg("%s", err.msg);
}

static void test_defaults(void **state)
{
	cleanup_net_config struct net_config c;

	parse(&c, "{}");
	assert_true(c.enabled && c.rebind_protection && !c.strict && !c.trust_host_cas);
	assert_int_equal(c.mtu, 1500);
	assert_int_equal(c.dns_timeout_ms, 5000);
	assert_int_equal(c.max_tcp, NET_UNSET);
	assert_false(c.policy.allow_egress);
	assert_true(c.policy.allow_ingress);
	assert_int_equal(c.policy.n_rules, 2);
}

static void test_policy_fails_closed(void **state)
{
	cleanup_net_config struct net_config c;

	parse(&c, "{\"policy\":{}}");
	assert_false(c.policy.allow_egress || c.policy.allow_ingress);
	assert_int_equal(c.policy.n_rules, 0);
}

static const char full[] =
	"{\"enabled\":true,\"interface\":{\"mac\":[2,0,0,0,0,9],\"mtu\":9000,\"ipv4_pool\":"
	"\"172.31.240.0/24\",\"ipv6_pool\":\"fd7a:115c:a1e0:100::/56\",\"ipv6_address\":null},"
	"\"ports\":[{\"host_port\":8080,\"guest_port\":80},{\"host_port\":53,\"guest_port\":53,"
	"\"protocol\":\"Udp\",\"host_bind\":\"::\"}],"
	"\"policy\":{\"default_egress\":\"allow\",\"rules\":["
	"{\"direction\":\"any\",\"destination\":\"any\",\"action\":\"deny\",\"protocols\":[\"tcp\","
	"\"udp\"],\"ports\":[{\"start\":1,\"end\":2},{\"start\":9,\"end\":9}]},"
	"{\"direction\":\"egress\",\"destination\":{\"cidr\":\"10.0.0.0/8\"},\"action\":\"allow\"},"
	"{\"direction\":\"egress\",\"destination\":{\"domain\":\".PyPI.org.\"},\"action\":"
	"\"allow\"},"
	"{\"direction\":\"egress\",\"destination\":{\"domain_suffix\":\"org\"},\"action\":"
	"\"allow\"},"
	"{\"direction\":\"ingress\",\"destination\":{\"group\":\"link_local\"},\"action\":\"deny\"}"
	"]},"
	"\"dns\":{\"rebind_protection\":false,\"nameservers\":[\"1.1.1.1\",\"[2606::1]:5353\"],"
	"\"query_timeout_ms\":100},\"max_connections\":7,\"max_udp_connections\":0,\"strict\":true,"
	"\"rate_limiter\":{\"egress\":{\"bandwidth\":{\"size\":100,\"refill_time_ms\":10}},"
	"\"ingress\":null},\"tls\":{\"enabled\":false},\"unknown\":{\"x\":1},"
	"\"outbound_proxy\":{\"protocol\":\"socks5\",\"address\":\"127.0.0.1:1080\"}}";

static void test_full(void **state)
{
	cleanup_net_config struct net_config c, again;
	char text[256];
	char *json;

	parse(&c, full);
	json = net_config_to_json(&c);
	assert_non_null(json);
	parse(&again, json); /* what is written is read back the same */
	assert_int_equal(again.policy.n_rules, 5);
	assert_string_equal(policy_rule_format(&again.policy.rules[0], text, sizeof(text)),
		"deny:any@any:tcp+udp:1-2+9");
	assert_string_equal(again.policy.rules[2].name, "pypi.org");
	assert_int_equal(again.mac.b[5], 9);
	assert_int_equal(again.n_ports, 2);
	assert_true(again.ports[1].udp);
	assert_string_equal(again.nameservers[0], "1.1.1.1:53");
	assert_string_equal(again.nameservers[1], "[2606::1]:5353");
	assert_int_equal(again.max_tcp, 7);
	assert_int_equal(again.max_udp, 0);
	assert_int_equal(again.from_guest.bytes.size, 100);
	assert_int_equal(again.proxy.kind, NET_PROXY_SOCKS5);
	assert_true(again.strict);
	free(json);
	json = policy_to_json(&c.policy);
	assert_non_null(strstr(json, "\"domain\": \"pypi.org\""));
	free(json);
}

static void test_multi_tenant(void **state)
{
	cleanup_net_config struct net_config c, again, plain;
	char *json;

	parse(&c, full);
	assert_int_equal(net_config_make_multi_tenant(&c, NULL),
		NET_DROPPED_INTERFACE | NET_DROPPED_PORTS | NET_DROPPED_NAMESERVERS |
			NET_DROPPED_REBIND | NET_DROPPED_LIMITS);
	json = net_config_to_json(&c);
	parse(&again, json);
	free(json);
	assert_int_equal(again.policy.n_rules, 5); /* the own policy is as it was */
	assert_non_null(again.policy.platform);
	assert_int_equal(again.policy.platform->n_rules, 2);
	assert_false(again.policy.platform->allow_egress);
	assert_false(again.has_mac || again.has_addr4 || again.has_addr6);
	assert_int_equal(again.mtu, NET_MTU_DEFAULT);
	assert_int_equal(again.pool4.bits, 12);
	assert_int_equal(again.n_ports + again.n_nameservers, 0);
	assert_true(again.rebind_protection);
	assert_int_equal(again.max_tcp, 7);
	assert_int_equal(again.max_udp, NET_TENANT_FLOWS_MAX);
	assert_int_equal(again.from_guest.bytes.size, 100);

	assert_int_equal(net_config_init(&plain, NULL), 0);
	assert_int_equal(net_config_make_multi_tenant(&plain, NULL), 0); /* nothing was taken */
	assert_int_equal(plain.max_tcp, NET_TENANT_FLOWS_MAX);
	plain.trust_host_cas = true;
	plain.max_tcp = NET_TENANT_FLOWS_MAX + 1;
	assert_int_equal(net_config_make_multi_tenant(&plain, NULL),
		NET_DROPPED_HOST_CAS | NET_DROPPED_LIMITS);
	assert_int_equal(plain.max_tcp, NET_TENANT_FLOWS_MAX);
	assert_false(plain.trust_host_cas);
}

static void test_nameservers(void **state)
{
	static const char *const rows[][2] = {
		{ "1.1.1.1", "1.1.1.1:53" },
		{ " 1.1.1.1:5353\t", "1.1.1.1:5353" },
		{ "2606::1", "[2606::1]:53" },
		{ "[2606::1]:5353", "[2606::1]:5353" },
		{ "Dns.Example.", "dns.example:53" },
		{ "dns.example:5353", "dns.example:5353" },
		{ "localhost", "localhost:53" },
	};
	cleanup_net_config struct net_config c;

	assert_int_equal(net_config_init(&c, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(net_config_add_nameserver(&c, rows[i][0], NULL), 0);
		assert_string_equal(c.nameservers[i], rows[i][1]);
	}
}

static void test_bad_json(void **state)
{
	static const char *const rows[] = {
		"",
		"[]",
		"{",
		"{\"enabled\":1}",
		"{\"interface\":{\"mtu\":100}}",
		"{\"interface\":{\"mtu\":65536}}",
		"{\"interface\":{\"mac\":[1,2,3]}}",
		"{\"interface\":{\"mac\":[1,2,3,4,5,6]}}",
		"{\"interface\":{\"ipv4_address\":\"::1\"}}",
		"{\"interface\":{\"ipv4_pool\":\"10.0.0.0/31\"}}",
		"{\"ports\":{}}",
		"{\"ports\":[{\"host_port\":1}]}",
		"{\"ports\":[{\"host_port\":1,\"guest_port\":70000}]}",
		"{\"policy\":[]}",
		"{\"policy\":{\"default_egress\":\"maybe\"}}",
		"{\"policy\":{\"rules\":[{}]}}",
		"{\"policy\":{\"rules\":[{\"direction\":\"egress\",\"action\":\"allow\","
		"\"destination\":{\"domain\":\"a b\"}}]}}",
		"{\"policy\":{\"rules\":[{\"direction\":\"egress\",\"action\":\"allow\","
		"\"destination\":{\"domain\":\"a\\u0000b\"}}]}}",
		"{\"policy\":{\"rules\":[{\"direction\":\"egress\",\"action\":\"allow\","
		"\"destination\":{\"group\":\"meta\"}}]}}",
		"{\"policy\":{\"rules\":[{\"direction\":\"egress\",\"action\":\"allow\","
		"\"destination\":\"any\",\"ports\":[{\"start\":2,\"end\":1}]}]}}",
		"{\"policy\":{\"platform\":true}}",
		"{\"policy\":{\"platform\":{\"default_egress\":5}}}",
		"{\"policy\":{\"platform\":{\"platform\":{}}}}",
		"{\"dns\":{\"nameservers\":[\"\"]}}",
		"{\"dns\":{\"nameservers\":[\"1.1.1 .1\"]}}",
		"{\"dns\":{\"nameservers\":[\"1.1.1.300\"]}}",
		"{\"dns\":{\"nameservers\":[\"1.1.1.1:\"]}}",
		"{\"dns\":{\"nameservers\":[\"1.1.1.1:0\"]}}",
		"{\"dns\":{\"nameservers\":[\"dns.example:x\"]}}",
		"{\"dns\":{\"nameservers\":[\"[dns.example]:53\"]}}",
		"{\"dns\":{\"nameservers\":[\"fe80::1%eth0\"]}}",
		"{\"dns\":{\"nameservers\":[5]}}",
		"{\"rate_limiter\":{\"egress\":{}}}",
		"{\"rate_limiter\":{\"egress\":{\"ops\":{\"size\":0,\"refill_time_ms\":1}}}}",
		"{\"outbound_proxy\":{\"protocol\":\"http\",\"address\":\"1.1.1.1:1\"}}",
		"{\"outbound_proxy\":{\"protocol\":\"socks5\",\"address\":\"proxy:1\"}}",
		"{\"tls\":{\"enabled\":true}}",
		"{\"secrets\":{\"secrets\":[{}]}}",
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_net_config struct net_config c;
		struct err err = ERR_INIT;

		if (net_config_from_json(&c, rows[i], strlen(rows[i]), &err) == 0)
			fail_msg("accepted: %s", rows[i]);
		assert_string_not_equal(err.msg, "");
	}
}

static void test_publish(void **state)
{
	static const char *const bad[] = { "80", "80:", ":80", "80:99999", "70000:80",
		"1.2.3:80:80", "[::1:80:80", "::1:80:80", "[1.2.3.4]:1:1", "80:80/sctp", "80:0",
		"a:b", "80-90:80", "" };
	static const struct {
		const char *text, *bind;
		uint16_t host, guest;
		bool udp;
	} good[] = {
		{ "8080:80", "127.0.0.1", 8080, 80, false },
		{ "0.0.0.0:8080:80/udp", "0.0.0.0", 8080, 80, true },
		{ "[::1]:8080:80/tcp", "::1", 8080, 80, false },
		{ "0:80", "127.0.0.1", 0, 80, false },
	};
	struct net_publish p;
	char text[IP_STRLEN];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(net_publish_parse(bad[i], &p, NULL) < 0);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(net_publish_parse(good[i].text, &p, NULL), 0);
		assert_string_equal(ip_format(&p.bind, text), good[i].bind);
		assert_int_equal(p.host_port, good[i].host);
		assert_int_equal(p.guest_port, good[i].guest);
		assert_int_equal(p.udp, good[i].udp);
	}
}

static void test_buckets(void **state)
{
	static const char *const bad[] = { "", "0", "x", "1M/", "1M/0ms", "1M/1", "1M/1.5s", "-1" };
	struct net_bucket b;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_true(net_bucket_parse(bad[i], true, &b, NULL) < 0);
	assert_int_equal(net_bucket_parse("10M", true, &b, NULL), 0);
	assert_true(b.size == 10 << 20 && b.refill_ms == 1000);
	assert_int_equal(net_bucket_parse("500/100ms", false, &b, NULL), 0);
	assert_true(b.size == 500 && b.refill_ms == 100);
	assert_true(net_bucket_parse("5K", false, &b, NULL) < 0);
}

static void check_plan(const char *json, uint64_t slot, const char *guest4, const char *gw4,
	const char *guest6, const char *gw6)
{
	cleanup_net_config struct net_config c;
	struct net_plan p;
	char text[IP_STRLEN];

	parse(&c, json);
	assert_int_equal(net_plan_make(&c, slot, true, true, &p, NULL), 0);
	assert_string_equal(ip_format(&p.guest4, text), guest4);
	assert_string_equal(ip_format(&p.gateway4, text), gw4);
	assert_string_equal(ip_format(&p.guest6, text), guest6);
	assert_string_equal(ip_format(&p.gateway6, text), gw6);
}

static void test_plan(void **state)
{
	static const uint8_t guest_mac[] = { 0x02, 0x6d, 0x73, 0x01, 0x02, 0x02 };
	cleanup_net_config struct net_config c;
	struct net_plan p;

	check_plan("{}", 0, "172.16.0.2", "172.16.0.1", "fd42:6d73:62::2", "fd42:6d73:62::1");
	check_plan("{}", 1, "172.16.0.6", "172.16.0.5", "fd42:6d73:62:1::2", "fd42:6d73:62:1::1");
	check_plan("{\"interface\":{\"ipv4_pool\":\"172.31.240.9/24\",\"ipv6_pool\":"
		   "\"fd7a:115c:a1e0:100::/56\"}}",
		3, "172.31.240.14", "172.31.240.13", "fd7a:115c:a1e0:103::2",
		"fd7a:115c:a1e0:103::1");
	check_plan("{\"interface\":{\"ipv4_address\":\"10.5.5.6\",\"ipv6_address\":\"fd01::9\"}}",
		5, "10.5.5.6", "10.5.5.5", "fd01::9", "fd01::1");

	parse(&c, "{\"interface\":{\"ipv4_pool\":\"172.31.240.0/24\"}}");
	assert_int_equal(net_plan_make(&c, 63, true, true, &p, NULL), 0);
	assert_int_equal(net_plan_make(&c, 64, true, true, &p, NULL), -ERANGE);
	assert_int_equal(net_plan_make(&c, 64, false, true, &p, NULL), 0); /* family not in use */
	assert_false(p.v4);
	assert_int_equal(net_plan_make(&c, 65536, false, true, &p, NULL), -ERANGE);
	assert_int_equal(net_plan_make(&c, 0x0102, false, true, &p, NULL), 0);
	assert_memory_equal(p.guest_mac.b, guest_mac, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_policy_fails_closed),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_nameservers),
		cmocka_unit_test(test_multi_tenant),
		cmocka_unit_test(test_bad_json),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_plan),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
