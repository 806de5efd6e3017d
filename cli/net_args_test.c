/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <errno.h>

#include "cli/net_args.h"
#include "lib/cleanup.h"

#define WORDS(...) ((char **)(const char *[]){ "run", __VA_ARGS__, NULL })

static int parse(char **argv, struct net_args *ret, struct err *err)
{
	int argc = 0, n, rest, rc = net_args_init(ret, err);

	while (argv[argc])
		argc++;
	if (rc == 0)
		rc = options_parse(net_options, ret, argc, argv, NULL, 0, &n, &rest, err);
	return rc < 0 ? rc : net_args_finish(ret, err);
}

static void must_parse(char **argv, struct net_args *ret)
{
	struct err err = ERR_INIT;

	if (parse(argv, ret, &err) < 0)
		fail_msg("%s", err.msg);
}

/* The rules in order, and the defaults as two letters. */
static void expect_policy(char **argv, const char *defaults, const char *rules)
{
	struct net_args a;
	const struct policy *p = &a.config.policy;
	char text[1024] = "", rule[400];
	size_t len = 0;

	must_parse(argv, &a);
	assert_int_equal(p->allow_egress, defaults[0] == 'a');
	assert_int_equal(p->allow_ingress, defaults[1] == 'a');
	for (size_t i = 0; i < p->n_rules; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i ? " " : "",
			policy_rule_format(&p->rules[i], rule, sizeof(rule)));
	assert_string_equal(text, rules);
	net_args_release(&a);
}

#define DNS    "allow:egress@host:tcp+udp:53"
#define PUBLIC "allow:egress@public"

static void policies(void **state)
{
	expect_policy(WORDS(NULL), "da", DNS " " PUBLIC);
	expect_policy(WORDS("--net", "none"), "dd", "");
	expect_policy(WORDS("--net=all"), "aa", "");
	expect_policy(WORDS("--no-net"), "dd", "");
	expect_policy(
		WORDS("--no-net", "--net-rule", "allow@1.1.1.1"), "dd", "allow:egress@1.1.1.1/32");
	expect_policy(WORDS("--net", "host,private", "--net", "host"), "da",
		DNS " allow:egress@private allow:egress@host");
	expect_policy(WORDS("--net-rule", "deny@public:tcp:25,allow@public", "--net-rule",
			      "allow:ingress@any"),
		"da", "deny:egress@public:tcp:25 " PUBLIC " allow:ingress@any");
	expect_policy(WORDS("--net", "public", "--net-rule", "deny@*.bad.example"), "da",
		"deny:egress@*.bad.example " DNS " " PUBLIC);
	expect_policy(WORDS("--net-default", "allow"), "aa", "");
	expect_policy(
		WORDS("--net-default-egress", "allow", "--net-default-ingress", "deny"), "ad", "");
}

static void other_values(void **state)
{
	struct net_args a;
	const struct net_config *c = &a.config;

	assert_int_equal(setenv("PROXY_PASSWORD", "hush", 1), 0);
	must_parse(WORDS("-p", "8080:80", "-p", "[::1]:53:5353/udp", "--dns-nameserver", "1.1.1.1",
			   "--dns-nameserver", "[2606::1]:5353", "--dns-query-timeout-ms", "200",
			   "--no-dns-rebind-protection", "--trust-host-cas", "--net-strict",
			   "--net-ipv4-pool", "10.9.0.0/24", "--net-ipv6-pool", "fd00::/56",
			   "--max-tcp-connections", "7", "--max-udp-connections", "0", "--proxy",
			   "socks5://127.0.0.1:1080", "--socks5-username", "me",
			   "--socks5-password-env", "PROXY_PASSWORD", "--net-show"),
		&a);
	assert_int_equal(c->n_ports, 2);
	assert_int_equal(c->ports[0].host_port, 8080);
	assert_true(c->ports[1].udp);
	assert_string_equal(c->nameservers[0], "1.1.1.1:53");
	assert_string_equal(c->nameservers[1], "[2606::1]:5353");
	assert_int_equal(c->dns_timeout_ms, 200);
	assert_false(c->rebind_protection);
	assert_true(c->trust_host_cas && c->strict && a.show && a.want_v6);
	assert_int_equal(c->pool4.bits, 24);
	assert_int_equal(c->pool6.bits, 56);
	assert_int_equal(c->max_tcp, 7);
	assert_int_equal(c->max_udp, 0);
	assert_int_equal(c->proxy.kind, NET_PROXY_SOCKS5);
	assert_int_equal(c->proxy.addr.port, 1080);
	assert_string_equal(c->proxy.user, "me");
	assert_string_equal(c->proxy.password, "hush");
	net_args_release(&a);
}

static void deployment(void **state)
{
	struct net_args a;

	must_parse(WORDS("--deployment-profile", "multi-tenant", "--net", "all", "-p", "80:80",
			   "--net-ipv6-pool", "fd00::/56", "--trust-host-cas"),
		&a);
	assert_true(a.config.policy.allow_egress); /* the guest's own policy stays */
	assert_non_null(a.config.policy.platform);
	assert_int_equal(a.config.n_ports, 0);
	assert_false(a.want_v6);
	assert_int_equal(
		a.dropped, NET_DROPPED_INTERFACE | NET_DROPPED_PORTS | NET_DROPPED_HOST_CAS);
	net_args_release(&a);
	must_parse(WORDS("--deployment-profile=single-tenant", "-p", "80:80"), &a);
	assert_null(a.config.policy.platform);
	assert_int_equal(a.config.n_ports, 1);
	net_args_release(&a);
}

static void rates(void **state)
{
	struct net_args a;

	must_parse(
		WORDS("--net-egress-bandwidth-burst", "2M", "--net-egress-bandwidth", "10M/500ms",
			"--net-ingress-ops", "1000", "--net-ingress-ops-burst", "5"),
		&a);
	assert_int_equal(a.config.from_guest.bytes.size, 10 << 20);
	assert_int_equal(a.config.from_guest.bytes.refill_ms, 500);
	assert_int_equal(a.config.from_guest.bytes.burst, 2 << 20);
	assert_int_equal(a.config.to_guest.ops.size, 1000);
	assert_int_equal(a.config.to_guest.ops.refill_ms, 1000);
	assert_int_equal(a.config.to_guest.ops.burst, 5);
	assert_int_equal(a.config.to_guest.bytes.size, 0);
	net_args_release(&a);
}

static void expect_error(char **argv, int code, const char *words)
{
	struct net_args a;
	struct err err = ERR_INIT;

	assert_int_equal(parse(argv, &a, &err), -code);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
	assert_null(strchr(err.msg, '\n'));
	net_args_release(&a);
}

/* EDOM: a value that will not do. */
static void refuses_bad_values(void **state)
{
	assert_int_equal(unsetenv("NOT_SET_HERE"), 0);
	expect_error(WORDS("-p", "80"), EDOM, "--port: published port '80'");
	expect_error(WORDS("-p", "80:99999"), EDOM, "invalid guest port: 99999");
	expect_error(WORDS("-p", "localhost:80:80"), EDOM, "invalid bind address");
	expect_error(WORDS("-p", "80:80/sctp"), EDOM, "invalid protocol");
	expect_error(WORDS("-p", "80:80", "-p", "127.0.0.1:80:81"), EDOM,
		"127.0.0.1:80/tcp is published twice");
	expect_error(WORDS("--net", "foo"), EDOM, "unknown profile 'foo'");
	expect_error(WORDS("--net", ""), EDOM, "empty");
	expect_error(WORDS("--net", "all", "--net", "public"), EDOM, "stand alone");
	expect_error(WORDS("--net-rule", "allow"), EDOM, "no '@'");
	expect_error(WORDS("--net-rule", "alow@any"), EDOM, "allow");
	expect_error(WORDS("--dns-nameserver", "1.1.1.300"), EDOM, "1.1.1.300");
	expect_error(WORDS("--dns-query-timeout-ms", "0"), ERANGE, "timeout");
	expect_error(WORDS("--net-ipv4-pool", "10.0.0.0/31"), EDOM, "IPv4 network");
	expect_error(WORDS("--net-ipv4-pool", "fd00::/48"), EDOM, "IPv4 network");
	expect_error(WORDS("--net-ipv6-pool", "fd00::/65"), EDOM, "IPv6 network");
	expect_error(WORDS("--max-tcp-connections", "-1"), EINVAL, "connections");
	expect_error(WORDS("--net-egress-bandwidth", "0"), EDOM, "zero");
	expect_error(WORDS("--net-egress-bandwidth", "1M/0s"), EDOM, "duration");
	expect_error(WORDS("--net-egress-bandwidth-burst", "1M"), EDOM, "a burst needs its rate");
	expect_error(WORDS("--proxy", "http://1.1.1.1:1"), EDOM, "socks5://IP:PORT");
	expect_error(WORDS("--proxy", "socks5://proxy.example:1"), EDOM, "socks5://IP:PORT");
	expect_error(WORDS("--proxy", "socks4://1.1.1.1:1", "--socks4-user-id", ""), EDOM, "255");
	expect_error(WORDS("--proxy", "socks5://1.1.1.1:1", "--socks5-username", "u",
			     "--socks5-password-env", "NOT_SET_HERE"),
		EDOM, "'NOT_SET_HERE' not set");
	expect_error(WORDS("--net-conf", "/no/such/file"), ENOENT, "/no/such/file");
}

/* EINVAL: wrong usage. */
static void refuses_wrong_usage(void **state)
{
	expect_error(WORDS("--net-default", "maybe"), EINVAL, "'maybe'");
	expect_error(WORDS("--net", "public", "--no-net"), EINVAL, "--no-net");
	expect_error(WORDS("--no-net", "--net-default", "allow"), EINVAL, "--net-default");
	expect_error(WORDS("--net-default", "allow", "--net-default-egress", "deny"), EINVAL,
		"--net-default");
	expect_error(WORDS("--deployment-profile", "both"), EINVAL, "'both' is neither");
	expect_error(WORDS("--max-udp-connections", "many"), EINVAL, "connections");
	expect_error(WORDS("--socks4-user-id", "u"), EINVAL, "need --proxy");
	expect_error(WORDS("--proxy", "socks5://1.1.1.1:1", "--socks5-username", "u"), EINVAL,
		"need each other");
	expect_error(WORDS("--proxy", "socks4://1.1.1.1:1", "--socks5-username", "u",
			     "--socks5-password-env", "P"),
		EINVAL, "socks4://");
	expect_error(WORDS("--proxy", "socks5://1.1.1.1:1", "--socks4-user-id", "u"), EINVAL,
		"socks5://");
	expect_error(WORDS("--net-rul", "x"), EINVAL, "did you mean '--net-rule'?");
}

/* A file with @text, removed by the caller. */
static void make_file(char path[32], const char *text)
{
	cleanup_fd int fd = -1;

	(void)snprintf(path, 32, "/tmp/net-conf-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void files_come_before_flags(void **state)
{
	struct net_args a;
	char one[32], two[32];

	make_file(one, "policy: none\nmax_connections: 5\ndeny: [\"10.0.0.1\"]\nports: [\"1:1\"]\n"
		       "dns: {nameservers: [\"1.1.1.1\"], query_timeout: 2s}\nstrict: true\n");
	make_file(two, "policy: public\ndeny: [\"*.bad.example:tcp:443\"]\n");
	must_parse(WORDS("--net-conf", one, "--net-conf", two, "-p", "2:2", "--dns-nameserver",
			   "8.8.8.8"),
		&a);
	assert_int_equal(a.config.max_tcp, 5);
	assert_int_equal(a.config.dns_timeout_ms, 2000);
	assert_int_equal(a.config.n_ports, 2);
	assert_string_equal(a.config.nameservers[0], "8.8.8.8:53");
	assert_string_equal(a.config.nameservers[1], "1.1.1.1:53");
	assert_true(a.config.strict && a.config.rebind_protection);
	net_args_release(&a);
	expect_policy(WORDS("--net-conf", one, "--net-conf", two, "--net-rule", "allow@host"), "da",
		"allow:egress@host deny:egress@*.bad.example:tcp:443 " DNS " " PUBLIC);
	expect_policy(WORDS("--net-conf", one, "--net", "all"), "aa", "deny:egress@10.0.0.1/32");
	expect_policy(WORDS("--net-conf", one), "dd", "deny:egress@10.0.0.1/32");
	must_parse(WORDS("--net-conf", one, "--max-tcp-connections", "9", "--dns-query-timeout-ms",
			   "50"),
		&a);
	assert_int_equal(a.config.max_tcp, 9);
	assert_int_equal(a.config.dns_timeout_ms, 50);
	net_args_release(&a);
	assert_int_equal(unlink(one) + unlink(two), 0);
}

static void an_allow_list_is_all_that_is_allowed(void **state)
{
	char path[32];

	make_file(path, "allow: [pypi.org, \"10.0.0.0/8:tcp:443\"]\ndeny: [\"10.1.0.0/16\"]\n");
	expect_policy(WORDS("--net-conf", path), "da",
		"deny:egress@10.1.0.0/16 allow:egress@domain=pypi.org "
		"allow:egress@10.0.0.0/8:tcp:443");
	assert_int_equal(unlink(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies),
		cmocka_unit_test(other_values),
		cmocka_unit_test(deployment),
		cmocka_unit_test(rates),
		cmocka_unit_test(refuses_bad_values),
		cmocka_unit_test(refuses_wrong_usage),
		cmocka_unit_test(files_come_before_flags),
		cmocka_unit_test(an_allow_list_is_all_that_is_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
