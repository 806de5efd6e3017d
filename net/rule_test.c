/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "lib/num.h"
#include "net/policy.h"

static void test_accepts(void **state)
{
	static const struct {
		const char *text, *canonical;
	} rows[] = {
		{ "allow@any", "allow:egress@any" },
		{ "deny:ingress@public", "deny:ingress@public" },
		{ "allow:any@private:tcp", "allow:any@private:tcp" },
		{ "allow@public:tcp:443", "allow:egress@public:tcp:443" },
		{ "allow@link-local:any:1-1024", "allow:egress@link-local:any:1-1024" },
		{ "deny@meta", "deny:egress@meta" },
		{ "deny@multicast:udp:any", "deny:egress@multicast:udp" },
		{ "allow@loopback:icmpv4", "allow:egress@loopback:icmpv4" },
		{ "allow@host:udp:53", "allow:egress@host:udp:53" },
		{ "allow@1.2.3.4", "allow:egress@1.2.3.4/32" },
		{ "allow@10.1.2.3/8:udp:0-65535", "allow:egress@10.1.2.3/8:udp:0-65535" },
		{ "allow@[::1]:tcp:80", "allow:egress@[::1/128]:tcp:80" },
		{ "allow@[fd00::/8]", "allow:egress@[fd00::/8]" },
		{ "allow@fd00::/8", NULL }, /* unbracketed IPv6 */
		{ "allow@PyPI.org.", "allow:egress@domain=pypi.org" },
		{ "allow@domain=localhost:tcp", "allow:egress@domain=localhost:tcp" },
		{ "allow@domain=public", "allow:egress@domain=public" },
		{ "allow@*.example.com", "allow:egress@*.example.com" },
		{ "allow@suffix=.example.com", "allow:egress@*.example.com" },
		{ "allow@_srv.example.com", "allow:egress@domain=_srv.example.com" },
		{ "allow@dns", "allow:egress@host:tcp+udp:53" },
		{ "allow@dns:udp", "allow:egress@host:udp:53" },
		{ "allow@dns::53", "allow:egress@host:tcp+udp:53" },
		{ "deny@dns:any:any", "deny:egress@host:tcp+udp:53" },
		{ "allow@public:any:any", "allow:egress@public" },
		{ "allow@any:tcp:0", "allow:egress@any:tcp:0" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_policy struct policy p = { 0 };
		struct err err = ERR_INIT;
		char text[300];
		int rc = policy_parse_rules(&p, rows[i].text, &err);

		if (!rows[i].canonical) {
			assert_true(rc < 0);
			continue;
		}
		if (rc < 0)
			fail_msg("%s: %s", rows[i].text, err.msg);
		assert_int_equal(p.n_rules, 1);
		assert_string_equal(
			policy_rule_format(&p.rules[0], text, sizeof(text)), rows[i].canonical);
	}
}

static void test_refuses(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "allow", "no '@'" },
		{ "", NULL },
		{ " , ,", NULL },
		{ "@public", "invalid action ''" },
		{ "alow@public", "did you mean 'allow'" },
		{ "ALLOW@public", "invalid action" },
		{ "permit@public", "invalid action 'permit'" },
		{ "allow:out@public", "invalid direction 'out'" },
		{ "allow:ingres@public", "did you mean 'ingress'" },
		{ "allow:@public", "invalid direction ''" },
		{ "allow@", "invalid target" },
		{ "allow@:tcp", "invalid target" },
		{ "allow@publik", "ambiguous" },
		{ "allow@publik", "did you mean 'public'" },
		{ "allow@localhost", "domain=localhost" },
		{ "allow@*", "ambiguous" },
		{ "allow@metadata", "ambiguous" },
		{ "allow@*.com", "two labels" },
		{ "allow@suffix=local", "two labels" },
		{ "allow@domain=", "invalid domain" },
		{ "allow@domain=a b", "invalid domain" },
		{ "allow@ex ample.com", "invalid domain" },
		{ "allow@a..b", "invalid domain" },
		{ "allow@exa$mple.com", "invalid domain" },
		{ "allow@10.0.0.0/33", "invalid CIDR" },
		{ "allow@http://example.com/x", "ambiguous" },
		{ "allow@example.com/x", "invalid CIDR" },
		{ "allow@1.2.3", "invalid IP" },
		{ "allow@256.1.1.1", "invalid IP" },
		{ "allow@public:", "invalid protocol ''" },
		{ "allow@public:tcp:", "invalid ports ''" },
		{ "allow@public:icmp", "icmpv4" },
		{ "allow@public:tpc", "did you mean 'tcp'" },
		{ "allow@public:443", "public:tcp:443" },
		{ "allow@example.com:80-90", "port in the protocol slot" },
		{ "allow@public:443:tcp", "port in the protocol slot" },
		{ "allow@public:tcp:http", "invalid ports" },
		{ "allow@public:tcp:65536", "invalid ports" },
		{ "allow@public:tcp:-1", "invalid ports" },
		{ "allow@public:tcp:1-", "invalid ports" },
		{ "allow@public:tcp:90-80", "invalid port range" },
		{ "allow@public:tcp:80:90", "trailing" },
		{ "allow@2001:db8::1", "brackets" },
		{ "allow@[::1", "unclosed bracket" },
		{ "allow@[::1]x", "unexpected 'x'" },
		{ "allow@[1.2.3.4]", "not an IPv6" },
		{ "allow@[example.com]", "not an IPv6" },
		{ "allow@[::g]", "not an IPv6" },
		{ "allow@[::1/129]", "invalid CIDR" },
		{ "allow:ingress@any:icmpv4", "ingress rules do not support icmp" },
		{ "allow:any@any:icmpv6", "ingress rules do not support icmp" },
		{ "allow:ingress@dns", "egress only" },
		{ "allow@dns:icmpv4", "invalid dns protocol" },
		{ "allow@dns:tcp:54", "invalid dns port" },
		{ "allow@any@any", "ambiguous" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_policy struct policy p = { 0 };
		struct err err = ERR_INIT;
		int rc = policy_parse_rules(&p, rows[i].text, &err);

		assert_int_equal(p.n_rules, 0);
		if (!rows[i].says) {
			assert_int_equal(rc, 0);
			continue;
		}
		if (rc == 0 || !strstr(err.msg, rows[i].says))
			fail_msg("'%s' says '%s', not '%s'", rows[i].text, err.msg, rows[i].says);
	}
}

static void test_lists(void **state)
{
	cleanup_policy struct policy p = { 0 };
	char big[2000];

	assert_int_equal(policy_parse_rules(&p, " allow@public , ,deny@private,", NULL), 0);
	assert_int_equal(policy_parse_rules(&p, "allow@any", NULL), 0);
	assert_int_equal(p.n_rules, 3);
	assert_true(p.rules[0].allow && !p.rules[1].allow && p.rules[2].allow);
	/* a mistake anywhere leaves nothing behind */
	assert_true(policy_parse_rules(&p, "allow@a.example,deny@b.example,bad", NULL) < 0);
	assert_int_equal(p.n_rules, 3);
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	assert_true(policy_parse_rules(&p, big, NULL) < 0);
}

static int build(struct policy *p, const char *profile, const char *rule, struct policy_args a,
	struct err *err)
{
	a.profiles = &profile;
	a.n_profiles = profile != NULL;
	a.rules = &rule;
	a.n_rules = rule != NULL;
	return policy_from_args(p, &a, err);
}

static void expect(const char *profile, const char *rule, struct policy_args a, bool egress,
	bool ingress, const char *rules)
{
	cleanup_policy struct policy p = { 0 };
	char all[400] = "", one[128];

	assert_int_equal(build(&p, profile, rule, a, NULL), 0);
	for (size_t i = 0; i < p.n_rules; i++) {
		strcat(all, policy_rule_format(&p.rules[i], one, sizeof(one)));
		strcat(all, ";");
	}
	assert_string_equal(all, rules);
	assert_int_equal(p.allow_egress, egress);
	assert_int_equal(p.allow_ingress, ingress);
}

static void test_from_args(void **state)
{
	const struct policy_args none = { 0 };
#define DNS "allow:egress@host:tcp+udp:53;"

	expect(NULL, NULL, none, false, true, DNS "allow:egress@public;");
	expect(NULL, "deny@1.2.3.4", none, false, true, "deny:egress@1.2.3.4/32;");
	expect("host,public", NULL, none, false, true,
		DNS "allow:egress@public;allow:egress@host;");
	expect("public, public", NULL, none, false, true, DNS "allow:egress@public;");
	expect("private", "deny@10.0.0.0/8", none, false, true,
		"deny:egress@10.0.0.0/8;" DNS "allow:egress@private;");
	expect("all", "deny@meta", none, true, true, "deny:egress@meta;");
	expect("none", NULL, none, false, false, "");
	expect(NULL, "allow@any", (struct policy_args){ .no_net = true }, false, false,
		"allow:egress@any;");
	expect(NULL, NULL, (struct policy_args){ .default_both = "allow" }, true, true, "");
	expect(NULL, NULL, (struct policy_args){ .default_egress = "allow" }, true, true, "");
	expect(NULL, NULL, (struct policy_args){ .default_ingress = "deny" }, false, false, "");
}

static void test_from_args_errors(void **state)
{
	static const struct {
		const char *profile;
		struct policy_args a;
		const char *says;
	} rows[] = {
		{ "public", { .no_net = true }, "--no-net" },
		{ "public", { .default_egress = "deny" }, "--net" },
		{ NULL, { .no_net = true, .default_both = "deny" }, "--no-net" },
		{ NULL, { .default_both = "deny", .default_egress = "deny" }, "--net-default" },
		{ NULL, { .default_both = "maybe" }, "maybe" },
		{ "", { 0 }, "empty" },
		{ "public,", { 0 }, "empty" },
		{ "everything", { 0 }, "unknown profile" },
		{ "all,all", { 0 }, "stand alone" },
		{ "all,none", { 0 }, "stand alone" },
		{ "public,none", { 0 }, "stand alone" },
		{ "none,public", { 0 }, "stand alone" },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		cleanup_policy struct policy p = { 0 };
		struct err err = ERR_INIT;

		assert_true(build(&p, rows[i].profile, NULL, rows[i].a, &err) < 0);
		if (!strstr(err.msg, rows[i].says))
			fail_msg("row %zu says '%s'", i, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepts),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_from_args),
		cmocka_unit_test(test_from_args_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
