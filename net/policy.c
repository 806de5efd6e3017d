/* SPDX-License-Identifier: Apache-2.0 */
#include "net/policy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

const char *const policy_group_json[POLICY_GROUPS] = { "public", "loopback", "private",
	"link_local", "metadata", "multicast", "host" };
const char *const policy_group_word[POLICY_GROUPS] = { "public", "loopback", "private",
	"link-local", "meta", "multicast", "host" };

/* --- storage --- */

void policy_rule_release(struct policy_rule *r)
{
	if (r->dest == POLICY_DOMAIN || r->dest == POLICY_SUFFIX)
		free(r->name);
	free(r->ports);
	memset(r, 0, sizeof(*r));
}

void policy_release(struct policy *p)
{
	for (size_t i = 0; i < p->n_rules; i++)
		policy_rule_release(&p->rules[i]);
	free(p->rules);
	if (p->platform)
		policy_release(p->platform);
	free(p->platform);
	memset(p, 0, sizeof(*p));
}

int policy_add(struct policy *p, struct policy_rule *rule, struct err *err)
{
	struct policy_rule *rules = NULL;
	int code = E2BIG;

	if (p->n_rules < POLICY_RULES_MAX) {
		code = ENOMEM;
		rules = reallocarray(p->rules, p->n_rules + 1, sizeof(*rules));
	}
	if (!rules) {
		policy_rule_release(rule);
		return err_set(err, code, "add network rule %zu", p->n_rules + 1);
	}
	p->rules = rules;
	rules[p->n_rules++] = *rule;
	memset(rule, 0, sizeof(*rule));
	return 0;
}

static int rule_copy(struct policy_rule *dst, const struct policy_rule *src)
{
	*dst = *src;
	dst->ports = NULL;
	dst->n_ports = 0;
	if (src->dest == POLICY_DOMAIN || src->dest == POLICY_SUFFIX) {
		dst->name = strdup(src->name);
		if (!dst->name)
			return -ENOMEM;
	}
	if (src->n_ports) {
		dst->ports = calloc(src->n_ports, sizeof(*src->ports));
		if (!dst->ports)
			return -ENOMEM;
		memcpy(dst->ports, src->ports, src->n_ports * sizeof(*src->ports));
		dst->n_ports = src->n_ports;
	}
	return 0;
}

static int copy_rules(struct policy *dst, const struct policy *src, struct err *err)
{
	*dst = (struct policy){ .allow_egress = src->allow_egress,
		.allow_ingress = src->allow_ingress };
	for (size_t i = 0; i < src->n_rules; i++) {
		struct policy_rule r;
		int rc = rule_copy(&r, &src->rules[i]);

		if (rc < 0) {
			policy_rule_release(&r);
			return err_set(err, rc, "copy network rule %zu", i + 1);
		}
		rc = policy_add(dst, &r, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int policy_copy(struct policy *dst, const struct policy *src, struct err *err)
{
	int rc = copy_rules(dst, src, err);

	if (rc < 0 || !src->platform)
		return rc;
	dst->platform = calloc(1, sizeof(*dst->platform));
	if (!dst->platform)
		return err_set(err, ENOMEM, "copy the platform's network policy");
	return copy_rules(dst->platform, src->platform, err);
}

/* --- presets --- */

static int add_group_rule(
	struct policy *p, enum policy_group group, uint8_t protos, uint16_t port, struct err *err)
{
	struct policy_rule r = { .allow = true,
		.dirs = POLICY_EGRESS,
		.protos = protos,
		.dest = POLICY_GROUP,
		.group = group };

	if (port) {
		r.ports = calloc(1, sizeof(*r.ports));
		if (!r.ports)
			return err_set(err, ENOMEM, "add network rule");
		r.ports[0] = (struct policy_ports){ port, port };
		r.n_ports = 1;
	}
	return policy_add(p, &r, err);
}

static int add_dns_rule(struct policy *p, struct err *err)
{
	return add_group_rule(p, POLICY_GROUP_HOST, POLICY_TCP | POLICY_UDP, 53, err);
}

int policy_set_public(struct policy *ret, struct err *err)
{
	int rc;

	*ret = (struct policy){ .allow_ingress = true };
	rc = add_dns_rule(ret, err);
	return rc < 0 ? rc : add_group_rule(ret, POLICY_GROUP_PUBLIC, 0, 0, err);
}

int policy_set_platform(struct policy *p, struct err *err)
{
	struct policy *platform = calloc(1, sizeof(*platform));
	int rc = platform ? policy_set_public(platform, err)
			  : err_set(err, ENOMEM, "set the platform's network policy");

	if (rc < 0) {
		if (platform)
			policy_release(platform);
		free(platform);
		return rc;
	}
	if (p->platform)
		policy_release(p->platform);
	free(p->platform);
	p->platform = platform;
	return 0;
}

/* Profiles in the order in which they render. */
enum {
	PROFILE_PUBLIC = 1,
	PROFILE_PRIVATE = 2,
	PROFILE_HOST = 4,
	PROFILE_ALL = 8,
	PROFILE_NONE = 16
};
#define PROFILE_TERMINAL (PROFILE_ALL | PROFILE_NONE)

static unsigned profile_bit(const char *word, size_t len)
{
	static const struct {
		const char *word;
		unsigned bit;
	} rows[] = { { "public", PROFILE_PUBLIC }, { "private", PROFILE_PRIVATE },
		{ "host", PROFILE_HOST }, { "all", PROFILE_ALL }, { "none", PROFILE_NONE } };

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (strlen(rows[i].word) == len && !memcmp(rows[i].word, word, len))
			return rows[i].bit;
	}
	return 0;
}

static int parse_profiles(const char *text, unsigned *bits, struct err *err)
{
	for (const char *s = text;; s++) {
		size_t len = strcspn(s, ",");
		const char *word = s + strspn(s, " \t");
		size_t n = len - MIN_OF(len, (size_t)(word - s));
		unsigned bit;

		while (n && (word[n - 1] == ' ' || word[n - 1] == '\t'))
			n--;
		bit = profile_bit(word, n);
		if (!n)
			return err_msg(err, EINVAL, "--net '%s': a profile is empty", text);
		if (!bit)
			return err_msg(err, EINVAL,
				"--net '%s': unknown profile '%.*s' (public, private, host, all, "
				"none)",
				text, (int)MIN_OF(n, 64u), word);
		if ((*bits && (bit & PROFILE_TERMINAL)) || (*bits & PROFILE_TERMINAL))
			return err_msg(
				err, EINVAL, "--net '%s': 'all' and 'none' stand alone", text);
		*bits |= bit;
		s += len;
		if (!*s)
			return 0;
	}
}

static int add_profiles(struct policy *p, unsigned bits, struct err *err)
{
	static const struct {
		unsigned bit;
		enum policy_group group;
	} rows[] = { { PROFILE_PUBLIC, POLICY_GROUP_PUBLIC },
		{ PROFILE_PRIVATE, POLICY_GROUP_PRIVATE }, { PROFILE_HOST, POLICY_GROUP_HOST } };
	int rc = 0;

	p->allow_egress = bits & PROFILE_ALL;
	p->allow_ingress = !(bits & PROFILE_NONE);
	if (bits & PROFILE_TERMINAL)
		return 0;
	rc = add_dns_rule(p, err);
	for (size_t i = 0; i < ARRAY_LEN(rows) && rc == 0; i++) {
		if (bits & rows[i].bit)
			rc = add_group_rule(p, rows[i].group, 0, 0, err);
	}
	return rc;
}

static int set_default(const char *flag, const char *word, bool *ret, struct err *err)
{
	if (!word)
		return 0;
	if (strcmp(word, "allow") != 0 && strcmp(word, "deny") != 0)
		return err_msg(err, EINVAL, "%s: '%s' is neither 'allow' nor 'deny'", flag, word);
	*ret = *word == 'a';
	return 0;
}

static int set_defaults(struct policy *p, const struct policy_args *a, struct err *err)
{
	int rc = set_default("--net-default", a->default_both, &p->allow_egress, err);

	if (rc == 0 && a->default_both)
		p->allow_ingress = p->allow_egress;
	if (rc == 0)
		rc = set_default("--net-default-egress", a->default_egress, &p->allow_egress, err);
	if (rc == 0)
		rc = set_default(
			"--net-default-ingress", a->default_ingress, &p->allow_ingress, err);
	if (rc == 0 && a->no_net)
		p->allow_egress = p->allow_ingress = false;
	return rc;
}

static int check_conflicts(const struct policy_args *a, struct err *err)
{
	bool each = a->default_egress || a->default_ingress, any = a->default_both || each;

	if (a->n_profiles && (a->no_net || any))
		return err_msg(
			err, EINVAL, "--net cannot be combined with --no-net or --net-default*");
	if (a->no_net && any)
		return err_msg(err, EINVAL, "--no-net cannot be combined with --net-default*");
	if (a->default_both && each)
		return err_msg(err, EINVAL,
			"--net-default cannot be combined with --net-default-egress or -ingress");
	return 0;
}

int policy_from_args(struct policy *ret, const struct policy_args *a, struct err *err)
{
	cleanup_policy struct policy p = { .allow_ingress = true };
	bool any_flag = a->n_profiles || a->n_rules || a->no_net || a->default_both ||
			a->default_egress || a->default_ingress;
	unsigned profiles = 0;
	int rc = check_conflicts(a, err);

	for (size_t i = 0; i < a->n_profiles && rc == 0; i++)
		rc = parse_profiles(a->profiles[i], &profiles, err);
	for (size_t i = 0; i < a->n_rules && rc == 0; i++)
		rc = policy_parse_rules(&p, a->rules[i], err);
	if (rc == 0 && !any_flag)
		rc = policy_set_public(&p, err);
	if (rc == 0 && a->n_profiles)
		rc = add_profiles(&p, profiles, err);
	if (rc == 0)
		rc = set_defaults(&p, a, err);
	if (rc < 0)
		return rc;
	*ret = p;
	p = (struct policy){ 0 };
	return 0;
}

/* --- evaluation --- */

static bool is_gateway(const struct policy_env *env, const struct ip_addr *a)
{
	static const struct ip_addr none;

	return (ip_equal(a, &env->gateway4) || ip_equal(a, &env->gateway6)) && !ip_equal(a, &none);
}

bool policy_in_group(
	const struct policy_env *env, enum policy_group group, const struct ip_addr *addr)
{
	static const enum ip_class classes[POLICY_GROUPS] = {
		[POLICY_GROUP_PUBLIC] = IP_CLASS_PUBLIC,
		[POLICY_GROUP_LOOPBACK] = IP_CLASS_LOOPBACK,
		[POLICY_GROUP_PRIVATE] = IP_CLASS_PRIVATE,
		[POLICY_GROUP_LINK_LOCAL] = IP_CLASS_LINK_LOCAL,
		[POLICY_GROUP_METADATA] = IP_CLASS_METADATA,
		[POLICY_GROUP_MULTICAST] = IP_CLASS_MULTICAST,
	};

	/* each address is in one group, and being the gateway comes first */
	if (is_gateway(env, addr))
		return group == POLICY_GROUP_HOST;
	return group != POLICY_GROUP_HOST && ip_classify(addr) == classes[group];
}

static bool port_matches(const struct policy_rule *r, bool has_port, uint16_t port)
{
	if (!r->n_ports)
		return true;
	for (size_t i = 0; has_port && i < r->n_ports; i++) {
		if (port >= r->ports[i].first && port <= r->ports[i].last)
			return true;
	}
	return false;
}

static bool is_domain(const struct policy_rule *r)
{
	return r->dest == POLICY_DOMAIN || r->dest == POLICY_SUFFIX;
}

static bool name_matches(const struct policy_rule *r, const char *name)
{
	return r->dest == POLICY_DOMAIN ? !strcmp(name, r->name) : name_under(name, r->name);
}

/* Does the index bind the address to a name the rule means? */
static bool pinned(
	const struct policy_rule *r, const struct policy_env *env, const struct ip_addr *addr)
{
	if (!env->names)
		return false;
	if (r->dest == POLICY_DOMAIN)
		return name_index_has(env->names, r->name, addr, env->now_ns);
	return name_index_has_under(env->names, r->name, addr, env->now_ns);
}

static bool addr_matches(
	const struct policy_rule *r, const struct policy_env *env, const struct ip_addr *addr)
{
	struct ip_addr plain;

	switch (r->dest) {
	case POLICY_ANY:
		return true;
	case POLICY_CIDR:
		/* a deny of 10/8 must also stop 64:ff9b::10.0.0.1, which is delivered there */
		plain = ip_unwrap(addr);
		return cidr_contains(&r->cidr, addr) || cidr_contains(&r->cidr, &plain);
	case POLICY_GROUP:
		return policy_in_group(env, r->group, addr);
	default:
		return false;
	}
}

/* Direction, protocol and port: everything but the destination. */
static bool applies(const struct policy_rule *r, const struct policy_flow *f)
{
	return (r->dirs & f->dir) && (!r->protos || (r->protos & f->proto)) &&
	       port_matches(r, f->has_port, f->port);
}

static bool domain_matches(
	const struct policy_rule *r, const struct policy_env *env, const struct policy_flow *f)
{
	if (f->name_source != POLICY_NAME_SNI)
		return pinned(r, env, &f->addr);
	/* denying believes the client's word, allowing wants proof */
	return name_matches(r, f->sni) && (!r->allow || pinned(r, env, &f->addr));
}

static struct policy_answer by_default(const struct policy *p, uint8_t dir)
{
	bool allow = dir == POLICY_EGRESS ? p->allow_egress : p->allow_ingress;

	return (struct policy_answer){ allow ? POLICY_ALLOW : POLICY_DENY, -1 };
}

/*
 * Nothing is known of the name yet. If every domain rule that could match, and what is decided
 * without them, agree, that is the answer; else the name has to be awaited.
 */
static struct policy_answer eval_unnamed(
	const struct policy *p, const struct policy_env *env, const struct policy_flow *f)
{
	struct policy_answer a = by_default(p, f->dir);
	bool could[2] = { false, false }; /* a domain rule could still deny, allow */
	int first = -1;

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (!applies(r, f))
			continue;
		if (!is_domain(r)) {
			if (!addr_matches(r, env, &f->addr))
				continue;
			a = (struct policy_answer){ r->allow ? POLICY_ALLOW : POLICY_DENY, (int)i };
			break;
		}
		/* without a binding no name can make an allow rule match */
		if (r->allow && !pinned(r, env, &f->addr))
			continue;
		could[r->allow] = true;
		first = first < 0 ? (int)i : first;
	}
	if (could[a.verdict == POLICY_DENY])
		return (struct policy_answer){ POLICY_DEFER, first };
	return a;
}

/* A denial of the policy's own is the one to tell of: that is what the user can change. */
static struct policy_answer stricter(struct policy_answer own, enum policy_verdict platform)
{
	if (own.verdict == POLICY_DENY || platform == POLICY_ALLOW)
		return own;
	if (platform == POLICY_DENY || own.verdict == POLICY_ALLOW)
		return (struct policy_answer){ platform, POLICY_BY_PLATFORM };
	return own;
}

static struct policy_answer eval_one(
	const struct policy *p, const struct policy_env *env, const struct policy_flow *f)
{
	if (f->name_source == POLICY_NAME_DEFER)
		return eval_unnamed(p, env, f);
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (!applies(r, f))
			continue;
		if (is_domain(r) ? domain_matches(r, env, f) : addr_matches(r, env, &f->addr))
			return (struct policy_answer){ r->allow ? POLICY_ALLOW : POLICY_DENY,
				(int)i };
	}
	return by_default(p, f->dir);
}

struct policy_answer policy_eval(
	const struct policy *p, const struct policy_env *env, const struct policy_flow *f)
{
	struct policy_answer own = eval_one(p, env, f);

	if (!p->platform || f->dir != POLICY_EGRESS)
		return own;
	return stricter(own, eval_one(p->platform, env, f).verdict);
}

static struct policy_answer query_one(
	const struct policy *p, uint8_t proto, uint16_t port, const char *name)
{
	struct policy_flow f = {
		.dir = POLICY_EGRESS, .proto = proto, .has_port = true, .port = port
	};

	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];
		bool hit = false;

		if (!(r->dirs & POLICY_EGRESS))
			continue;
		if (is_domain(r)) /* a name that may be used on some port may be resolved */
			hit = name && name_matches(r, name);
		else if (r->dest == POLICY_ANY ||
			 (r->dest == POLICY_GROUP && r->group == POLICY_GROUP_HOST))
			hit = applies(r, &f);
		if (hit)
			return (struct policy_answer){ r->allow ? POLICY_ALLOW : POLICY_DENY,
				(int)i };
	}
	return by_default(p, POLICY_EGRESS);
}

struct policy_answer policy_eval_query(
	const struct policy *p, uint8_t proto, uint16_t port, const char *name)
{
	struct policy_answer own = query_one(p, proto, port, name);

	if (!p->platform)
		return own;
	return stricter(own, query_one(p->platform, proto, port, name).verdict);
}

static bool lifts_for(const struct policy *p, const struct policy_env *env,
	const struct ip_addr *addr, uint8_t proto)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		const struct policy_rule *r = &p->rules[i];

		if (!(r->dirs & POLICY_EGRESS) || r->n_ports ||
			(r->dest != POLICY_CIDR && r->dest != POLICY_GROUP))
			continue;
		if ((!r->protos || (r->protos & proto)) && addr_matches(r, env, addr))
			return r->allow;
	}
	return false;
}

bool policy_lifts_rebind(
	const struct policy *p, const struct policy_env *env, const struct ip_addr *addr)
{
	if (p->platform && !policy_lifts_rebind(p->platform, env, addr))
		return false;
	return lifts_for(p, env, addr, POLICY_TCP) || lifts_for(p, env, addr, POLICY_UDP);
}
