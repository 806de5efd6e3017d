/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/num.h"
#include "net/policy.h"

static struct ip_addr ip(const char *s)
{
	struct ip_addr a;

	assert_int_equal(ip_parse(s, &a), 0);
	return a;
}

struct fixture {
	struct policy p;
	struct policy_env env;
	struct name_index *names;
};

static void setup(struct fixture *f, const char *rules, bool allow)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(policy_parse_rules(&f->p, rules, NULL), 0);
	f->p.allow_egress = f->p.allow_ingress = allow;
	f->names = name_index_new();
	assert_non_null(f->names);
	f->env = (struct policy_env){ .gateway4 = ip("172.16.0.1"),
		.gateway6 = ip("fd42::1"),
		.names = f->names,
		.now_ns = 100 };
}

static void teardown(struct fixture *f)
{
	policy_release(&f->p);
	name_index_free(f->names);
}

static void pin(struct fixture *f, const char *name, const char *addr)
{
	struct ip_addr a = ip(addr);

	assert_int_equal(name_index_put(f->names, name, ip_is_v4(&a), &a, 1, 1000), 0);
}

static struct policy_flow tcp(const char *addr, uint16_t port)
{
	return (struct policy_flow){ .dir = POLICY_EGRESS,
		.proto = POLICY_TCP,
		.addr = ip(addr),
		.has_port = true,
		.port = port };
}

static enum policy_verdict ask(struct fixture *f, struct policy_flow flow)
{
	return policy_eval(&f->p, &f->env, &flow).verdict;
}

static enum policy_verdict ask_sni(struct fixture *f, const char *addr, const char *sni)
{
	struct policy_flow flow = tcp(addr, 443);

	flow.name_source = sni ? POLICY_NAME_SNI : POLICY_NAME_DEFER;
	flow.sni = sni;
	return ask(f, flow);
}

static void test_order_and_filters(void **state)
{
	struct fixture f;
	struct policy_flow flow;

	setup(&f, "deny@10.0.0.1,allow@10.0.0.0/8:tcp:80-90,allow@any:udp,allow:ingress@any:tcp:22",
		false);
	assert_int_equal(ask(&f, tcp("10.0.0.1", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("10.0.0.2", 80)), POLICY_ALLOW);
	assert_int_equal(ask(&f, tcp("10.0.0.2", 90)), POLICY_ALLOW);
	assert_int_equal(ask(&f, tcp("10.0.0.2", 91)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("11.0.0.2", 80)), POLICY_DENY);
	flow = tcp("11.0.0.2", 80);
	flow.proto = POLICY_UDP;
	assert_int_equal(ask(&f, flow), POLICY_ALLOW);
	/* no port, no match with a rule that has ports */
	flow = (struct policy_flow){
		.dir = POLICY_EGRESS, .proto = POLICY_ICMP4, .addr = ip("10.0.0.2")
	};
	assert_int_equal(ask(&f, flow), POLICY_DENY);
	/* directions are separate; the port of ingress is the guest's */
	flow = tcp("9.9.9.9", 22);
	assert_int_equal(ask(&f, flow), POLICY_DENY);
	flow.dir = POLICY_INGRESS;
	assert_int_equal(ask(&f, flow), POLICY_ALLOW);
	assert_int_equal(policy_eval(&f.p, &f.env, &flow).rule, 3);
	teardown(&f);
}

static void test_groups(void **state)
{
	struct fixture f;

	setup(&f, "allow@host:tcp:53,deny@host,deny@meta,allow@private,allow@public", false);
	assert_int_equal(ask(&f, tcp("172.16.0.1", 53)), POLICY_ALLOW);
	assert_int_equal(ask(&f, tcp("172.16.0.1", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("fd42::1", 80)), POLICY_DENY);
	assert_int_equal(
		ask(&f, tcp("172.16.0.5", 80)), POLICY_ALLOW); /* another sandbox's gateway */
	assert_int_equal(ask(&f, tcp("169.254.169.254", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("fd00:ec2::254", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("127.0.0.1", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("0.0.0.0", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("64:ff9b::7f00:1", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("8.8.8.8", 80)), POLICY_ALLOW);
	/* an inactive family has no gateway: "::" is nobody's */
	memset(&f.env.gateway6, 0, sizeof(f.env.gateway6));
	assert_int_equal(ask(&f, tcp("::", 53)), POLICY_DENY);
	teardown(&f);
	setup(&f, "deny@10.0.0.0/8", true);
	assert_int_equal(ask(&f, tcp("64:ff9b::a00:1", 80)), POLICY_DENY); /* 10.0.0.1 by NAT64 */
	teardown(&f);
}

static void test_names_allow(void **state)
{
	struct fixture f;

	setup(&f, "allow@pypi.org:tcp:443,allow@*.cdn.example", false);
	/* never resolved: refused at once, name or not */
	assert_int_equal(ask_sni(&f, "1.1.1.1", NULL), POLICY_DENY);
	assert_int_equal(ask_sni(&f, "1.1.1.1", "pypi.org"), POLICY_DENY);
	pin(&f, "pypi.org", "1.1.1.1");
	pin(&f, "a.cdn.example", "1.1.1.2");
	assert_int_equal(ask_sni(&f, "1.1.1.1", NULL), POLICY_DEFER);
	assert_int_equal(ask_sni(&f, "1.1.1.1", "pypi.org"), POLICY_ALLOW);
	assert_int_equal(ask_sni(&f, "1.1.1.1", "evil.example"), POLICY_DENY);
	assert_int_equal(ask_sni(&f, "1.1.1.3", "pypi.org"), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("1.1.1.1", 443)), POLICY_ALLOW); /* by the index alone */
	assert_int_equal(ask(&f, tcp("1.1.1.1", 80)), POLICY_DENY);
	assert_int_equal(ask_sni(&f, "1.1.1.2", "b.cdn.example"), POLICY_ALLOW);
	assert_int_equal(ask_sni(&f, "1.1.1.2", "evilcdn.example"), POLICY_DENY);
	f.env.now_ns = 1000; /* expired at the very instant */
	assert_int_equal(ask_sni(&f, "1.1.1.1", NULL), POLICY_DENY);
	teardown(&f);
}

static void test_names_deny(void **state)
{
	struct fixture f;

	setup(&f, "deny@*.bad.example", true);
	assert_int_equal(ask_sni(&f, "1.1.1.1", NULL), POLICY_DEFER);
	assert_int_equal(
		ask_sni(&f, "1.1.1.1", "bad.example"), POLICY_DENY); /* without a binding */
	assert_int_equal(ask_sni(&f, "1.1.1.1", "www.bad.example"), POLICY_DENY);
	assert_int_equal(ask_sni(&f, "1.1.1.1", "good.example"), POLICY_ALLOW);
	f.p.allow_egress = false; /* nothing can allow any more: no need to wait for a name */
	assert_int_equal(ask_sni(&f, "1.1.1.1", NULL), POLICY_DENY);
	teardown(&f);
}

static void test_queries(void **state)
{
	struct fixture f;

	setup(&f, "deny@bad.example,allow@pypi.org:tcp:443,allow@10.0.0.0/8,allow@public", false);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, "pypi.org").verdict, POLICY_ALLOW);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, "other.org").verdict, POLICY_DENY);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, NULL).verdict, POLICY_DENY);
	teardown(&f);
	setup(&f, "deny@bad.example,allow@dns:udp", false);
	assert_int_equal(
		policy_eval_query(&f.p, POLICY_UDP, 53, "bad.example").verdict, POLICY_DENY);
	assert_int_equal(
		policy_eval_query(&f.p, POLICY_UDP, 53, "other.org").verdict, POLICY_ALLOW);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, NULL).verdict, POLICY_ALLOW);
	assert_int_equal(policy_eval_query(&f.p, POLICY_TCP, 53, "other.org").verdict, POLICY_DENY);
	teardown(&f);
	setup(&f, "allow:ingress@any,allow:ingress@x.example", false);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, "x.example").verdict, POLICY_DENY);
	teardown(&f);
}

static void test_rebind_exception(void **state)
{
	struct fixture f;
	struct ip_addr a = ip("10.1.2.3"), b = ip("192.168.1.1");

	setup(&f, "allow@any,allow@10.0.0.0/8:tcp:80,deny@10.9.0.0/16,allow@10.0.0.0/8:tcp", true);
	assert_true(policy_lifts_rebind(&f.p, &f.env, &a));
	assert_false(
		policy_lifts_rebind(&f.p, &f.env, &b)); /* neither "any" nor the default lift it */
	a = ip("10.9.0.1");
	assert_false(policy_lifts_rebind(&f.p, &f.env, &a));
	teardown(&f);
	setup(&f, "allow@private", false);
	assert_true(policy_lifts_rebind(&f.p, &f.env, &b));
	teardown(&f);
}

static void test_no_rule(void **state)
{
	struct policy deny_all = { 0 };
	struct policy_env env = { 0 };
	struct policy_flow flow = tcp("8.8.8.8", 80);

	assert_int_equal(policy_eval(&deny_all, &env, &flow).verdict, POLICY_DENY);
	assert_int_equal(policy_eval(&deny_all, &env, &flow).rule, -1);
}

static void test_platform(void **state)
{
	struct fixture f;
	struct ip_addr private = ip("10.1.2.3");
	struct policy_flow flow = tcp("10.1.2.3", 80);
	cleanup_policy struct policy copy = { 0 };
	struct policy_answer a;

	setup(&f, "deny@9.9.9.9,deny@bad.example,allow@10.0.0.0/8", true);
	assert_int_equal(ask(&f, flow), POLICY_ALLOW);
	assert_true(policy_lifts_rebind(&f.p, &f.env, &private));
	assert_int_equal(policy_set_platform(&f.p, NULL), 0);
	/* the platform's no, which the guest's own rules cannot lift */
	a = policy_eval(&f.p, &f.env, &flow);
	assert_int_equal(a.verdict, POLICY_DENY);
	assert_int_equal(a.rule, POLICY_BY_PLATFORM);
	assert_false(policy_lifts_rebind(&f.p, &f.env, &private));
	assert_int_equal(ask(&f, tcp("172.16.0.1", 80)), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("172.16.0.1", 53)), POLICY_ALLOW);
	/* its yes does not lift the guest's own no */
	flow = tcp("9.9.9.9", 80);
	assert_int_equal(policy_eval(&f.p, &f.env, &flow).rule, 0);
	assert_int_equal(ask(&f, flow), POLICY_DENY);
	assert_int_equal(ask(&f, tcp("8.8.8.8", 80)), POLICY_ALLOW);
	assert_int_equal(ask_sni(&f, "8.8.8.8", NULL), POLICY_DEFER);
	assert_int_equal(ask_sni(&f, "10.1.2.3", NULL), POLICY_DENY);
	assert_int_equal(
		policy_eval_query(&f.p, POLICY_UDP, 53, "a.example").verdict, POLICY_ALLOW);
	assert_int_equal(policy_eval_query(&f.p, POLICY_UDP, 53, "bad.example").rule, 1);
	f.p.platform->n_rules = 0; /* as if it let nobody ask for names */
	assert_int_equal(
		policy_eval_query(&f.p, POLICY_UDP, 53, "a.example").rule, POLICY_BY_PLATFORM);
	f.p.platform->n_rules = 2;
	/* what comes in is the guest's business */
	flow.dir = POLICY_INGRESS;
	f.p.platform->allow_ingress = false;
	assert_int_equal(ask(&f, flow), POLICY_ALLOW);
	assert_int_equal(policy_copy(&copy, &f.p, NULL), 0);
	assert_int_equal(copy.platform->n_rules, 2);
	teardown(&f);
}

/* --- the reference model: the specification written down a second time, slowly --- */

#define CASES 1000000u
#define NAMES 6
static const char *const names[NAMES] = { "example.com", "a.example.com", "b.a.example.com",
	"evilexample.com", "other.org", "com.example" };
static const char *const addrs[] = { "8.8.8.8", "8.8.4.4", "10.0.0.1", "10.1.0.1", "172.16.0.1",
	"172.16.0.5", "169.254.169.254", "169.254.0.1", "127.0.0.1", "224.0.0.1", "0.0.0.0",
	"192.168.7.7", "2606::1", "fd42::1", "fd00:ec2::254", "fe80::1", "::1", "ff02::1",
	"fd00::9" };
/* the group of each address above */
static const int group_of[] = { 0, 0, 2, 2, 6, 2, 4, 3, 1, 5, -1, 2, 0, 6, 4, 3, 1, 5, 2 };
#define ADDRS ARRAY_LEN(addrs)

struct model {
	struct ip_addr addr[ADDRS];
	unsigned bound[ADDRS]; /* bit per name */
};

static bool model_cidr(const struct ip_cidr *c, const struct ip_addr *a)
{
	unsigned from = ip_is_v4(&c->addr) ? 96 : 0;

	if (ip_is_v4(&c->addr) != ip_is_v4(a))
		return false;
	for (unsigned i = from; i < from + c->bits; i++) {
		if (((c->addr.b[i / 8] ^ a->b[i / 8]) >> (7 - i % 8)) & 1)
			return false;
	}
	return true;
}

static bool model_name(const struct policy_rule *r, const char *name)
{
	char tail[300];

	if (!strcmp(r->name, name))
		return true;
	(void)snprintf(tail, sizeof(tail), ".%s", r->name);
	return r->dest == POLICY_SUFFIX && strlen(name) > strlen(tail) &&
	       !strcmp(name + strlen(name) - strlen(tail), tail);
}

static bool model_pinned(const struct model *m, const struct policy_rule *r, unsigned at)
{
	for (unsigned n = 0; n < NAMES; n++) {
		if ((m->bound[at] >> n & 1) && model_name(r, names[n]))
			return true;
	}
	return false;
}

static bool model_dest(
	const struct model *m, const struct policy_rule *r, unsigned at, const char *sni)
{
	switch (r->dest) {
	case POLICY_ANY:
		return true;
	case POLICY_CIDR:
		return model_cidr(&r->cidr, &m->addr[at]);
	case POLICY_GROUP:
		return group_of[at] == (int)r->group;
	default:
		if (!sni)
			return model_pinned(m, r, at);
		return model_name(r, sni) && (!r->allow || model_pinned(m, r, at));
	}
}

static bool model_one(const struct model *m, const struct policy *p, const struct policy_flow *f,
	unsigned at, const char *sni)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		bool port = r->n_ports == 0;

		for (size_t k = 0; k < r->n_ports; k++)
			port |= f->has_port && r->ports[k].first <= f->port &&
				f->port <= r->ports[k].last;
		if ((r->dirs & f->dir) && (r->protos == 0 || (r->protos & f->proto)) && port &&
			model_dest(m, r, at, sni))
			return r->allow;
	}
	return f->dir == POLICY_EGRESS ? p->allow_egress : p->allow_ingress;
}

static bool model_allows(const struct model *m, const struct policy *p, const struct policy_flow *f,
	unsigned at, const char *sni)
{
	if (p->platform && f->dir == POLICY_EGRESS && !model_one(m, p->platform, f, at, sni))
		return false;
	return model_one(m, p, f, at, sni);
}

static uint64_t rng_state = 0x243f6a8885a308d3ULL;

static unsigned rnd(unsigned below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (unsigned)((rng_state >> 32) % below);
}

static void random_rule(struct policy *p)
{
	static const char *const targets[] = { "any", "public", "private", "loopback", "link-local",
		"meta", "multicast", "host", "10.0.0.0/15", "8.8.8.8", "0.0.0.0/0", "[fd00::/8]",
		"[2606::1]", "example.com", "a.example.com", "*.example.com", "other.org",
		"suffix=com.example", "172.16.0.0/12", "dns" };
	static const char *const protos[] = { "", ":any", ":tcp", ":udp", ":tcp:80", ":any:53",
		":udp:50-60", ":tcp:1-1023" };
	static const char *const dirs[] = { "", ":egress", ":ingress", ":any" };
	unsigned t = rnd(ARRAY_LEN(targets));
	bool dns = t == ARRAY_LEN(targets) - 1;
	char text[128];

	(void)snprintf(text, sizeof(text), "%s%s@%s%s", rnd(2) ? "allow" : "deny",
		dns ? "" : dirs[rnd(ARRAY_LEN(dirs))], targets[t],
		dns ? "" : protos[rnd(ARRAY_LEN(protos))]);
	assert_int_equal(policy_parse_rules(p, text, NULL), 0);
}

static void random_world(struct model *m, struct fixture *f)
{
	memset(m->bound, 0, sizeof(m->bound));
	for (unsigned n = 0; n < NAMES; n++) {
		for (int v4 = 0; v4 < 2; v4++) {
			unsigned at = rnd(ADDRS);

			if (rnd(2) || ip_is_v4(&m->addr[at]) != (bool)v4)
				continue;
			pin(f, names[n], addrs[at]);
			m->bound[at] |= 1u << n;
		}
	}
	for (unsigned i = rnd(8); i > 0; i--)
		random_rule(&f->p);
	if (rnd(2))
		return;
	f->p.platform = calloc(1, sizeof(*f->p.platform));
	assert_non_null(f->p.platform);
	f->p.platform->allow_egress = rnd(2);
	for (unsigned i = rnd(8); i > 0; i--)
		random_rule(f->p.platform);
}

static void check_flow(const struct model *m, struct fixture *f)
{
	static const uint16_t ports[] = { 53, 55, 80, 443, 1023, 1024 };
	unsigned at = rnd(ADDRS), kind = rnd(4);
	struct policy_flow flow = { .dir = rnd(4) ? POLICY_EGRESS : POLICY_INGRESS,
		.proto = (uint8_t)(1u << kind),
		.addr = m->addr[at],
		.has_port = kind < 2,
		.port = ports[rnd(ARRAY_LEN(ports))] };
	enum policy_verdict early;

	if (rnd(2)) {
		flow.name_source = POLICY_NAME_SNI;
		flow.sni = names[rnd(NAMES)];
	}
	assert_int_equal(ask(f, flow) == POLICY_ALLOW, model_allows(m, &f->p, &flow, at, flow.sni));
	/* an early answer is the answer for every name, and for none */
	flow.name_source = POLICY_NAME_DEFER;
	early = ask(f, flow);
	if (early == POLICY_DEFER)
		return;
	for (unsigned n = 0; n <= NAMES; n++)
		assert_int_equal(early == POLICY_ALLOW,
			model_allows(m, &f->p, &flow, at, n < NAMES ? names[n] : NULL));
}

static void test_against_model(void **state)
{
	struct model m;

	for (unsigned i = 0; i < ADDRS; i++)
		m.addr[i] = ip(addrs[i]);
	for (unsigned i = 0; i < CASES / 100; i++) {
		struct fixture f;

		setup(&f, "", rnd(2));
		random_world(&m, &f);
		for (unsigned k = 0; k < 100; k++)
			check_flow(&m, &f);
		teardown(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_and_filters),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_names_allow),
		cmocka_unit_test(test_names_deny),
		cmocka_unit_test(test_queries),
		cmocka_unit_test(test_rebind_exception),
		cmocka_unit_test(test_platform),
		cmocka_unit_test(test_no_rule),
		cmocka_unit_test(test_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
