/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/net_file.h"
#include "lib/num.h"

static int parse(struct net_file *f, const char *text, struct err *err)
{
	return net_file_parse(f, "conf.yaml", text, strlen(text), err);
}

static void takes_presets_and_maps(void **state)
{
	struct net_file_values v;
	struct net_file f = { 0 };

	assert_int_equal(parse(&f, "open\n", NULL), 0);
	assert_string_equal(net_file_preset(&f), "open");
	assert_int_equal(setenv("WHERE", "10.0.0.0/8", 1), 0);
	assert_int_equal(parse(&f,
				 "# comment\ntrust_host_cas: true\nallow:\n  - \"${WHERE}:tcp\"\n"
				 "dns:\n  rebind_protection: false\n  query_timeout: 250ms\n"
				 "tls: {enabled: false, bypass: [\"*.example.com\"]}\n"
				 "max_udp_connections: 3\n",
				 NULL),
		0);
	assert_string_equal(net_file_preset(&f), "open");
	assert_true(net_file_has_allow(&f));
	assert_int_equal(net_file_make_rules(&f, NULL), 0);
	assert_int_equal(f.n_rules, 1);
	assert_string_equal(f.rules[0], "allow@10.0.0.0/8:tcp");
	net_file_values(&f, &v);
	assert_true(v.trust_host_cas && !v.rebind_protection && !v.strict);
	assert_int_equal(v.dns_timeout_ms, 250);
	assert_int_equal(v.max_udp, 3);
	assert_int_equal(v.max_tcp, -1);
	net_file_release(&f);
}

static void refuses_what_is_not_clear(void **state)
{
	static const struct {
		const char *text, *words;
	} rows[] = {
		{ "", "empty" },
		{ "policy: [", "conf.yaml, line" },
		{ "polcy: none\n", "unknown field 'polcy'" },
		{ "policy: some\n", "'policy' is not none, public or open" },
		{ "policy: none\npolicy: open\n", "line 2: given twice: policy" },
		{ "strict: yes\n", "'strict' is not true or false" },
		{ "strict: \"true\"\n", "'strict' is not true or false" },
		{ "max_connections: -1\n", "'max_connections'" },
		{ "max_connections: \"1\"\n", "'max_connections'" },
		{ "max_connections:\n", "'max_connections' is not given" },
		{ "allow: any\n", "'allow' is not a list" },
		{ "allow: [1]\n", "'allow' is not a list of texts" },
		{ "allow: [\"a.b,c.d\"]\n", "is not one target" },
		{ "deny: [localhost]\n", "deny: " },
		{ "ports: [\"80\"]\n", "ports: " },
		{ "dns: {query_timeout: 5}\n", "'query_timeout'" },
		{ "dns: {query_timeout: 5d}\n", "'query_timeout'" },
		{ "dns: {nameservers: [\"1.1.1.300\"]}\n", "nameservers: " },
		{ "dns: {other: 1}\n", "unknown field 'other'" },
		{ "tls: {enabled: true}\n", "TLS interception is not supported" },
		{ "allow: &a [x.y]\ndeny: *a\n", "anchors" },
		{ "strict: !!bool true\n", "tags" },
		{ "<<: {strict: true}\n", "merge keys" },
		{ "strict: true\n---\nstrict: true\n", "more than one document" },
		{ "allow: [\"${NOT_SET_HERE}\"]\n", "not set: NOT_SET_HERE" },
		{ "allow: [\"${NOT\"]\n", "without '}'" },
		{ "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
			"deep" },
	};

	assert_int_equal(unsetenv("NOT_SET_HERE"), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct net_file f = { 0 };
		struct err err = ERR_INIT;

		if (parse(&f, rows[i].text, &err) == 0)
			fail_msg("accepted: %s", rows[i].text);
		if (!strstr(err.msg, rows[i].words) || !strstr(err.msg, "conf.yaml"))
			fail_msg("'%s' does not say '%s'", err.msg, rows[i].words);
		net_file_release(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_presets_and_maps),
		cmocka_unit_test(refuses_what_is_not_clear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
