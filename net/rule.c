/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The --net-rule grammar: action[:direction]@target[:proto[:ports]].
 *
 * A token is split in place in a private copy: first at '@', then the left part at ':', then the
 * right part at its last colons. Each slot has its own table of words, which also feeds the
 * "did you mean" of its error.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"
#include "net/policy.h"

#define TOKEN_MAX 512

struct word {
	const char *text;
	unsigned value;
};

static const struct word actions[] = { { "allow", 1 }, { "deny", 0 } };
static const struct word directions[] = { { "egress", POLICY_EGRESS },
	{ "ingress", POLICY_INGRESS }, { "any", POLICY_EGRESS | POLICY_INGRESS } };
static const struct word protocols[] = { { "any", 0 }, { "tcp", POLICY_TCP }, { "udp", POLICY_UDP },
	{ "icmpv4", POLICY_ICMP4 }, { "icmpv6", POLICY_ICMP6 } };
static const struct word targets[] = { { "any", POLICY_GROUPS }, { "dns", POLICY_GROUPS },
	{ "public", POLICY_GROUP_PUBLIC }, { "private", POLICY_GROUP_PRIVATE },
	{ "loopback", POLICY_GROUP_LOOPBACK }, { "link-local", POLICY_GROUP_LINK_LOCAL },
	{ "meta", POLICY_GROUP_METADATA }, { "multicast", POLICY_GROUP_MULTICAST },
	{ "host", POLICY_GROUP_HOST } };

/* struct parse - one token on its way; @err is filled once, by whoever finds the mistake */
struct parse {
	const char *token; /* as written, for messages */
	struct policy_rule rule;
	struct err *err;
};

#define BAD(ps, fmt, ...)                                                                          \
	err_msg((ps)->err, EINVAL, "network rule '%.100s': " fmt, (ps)->token, __VA_ARGS__)

/* --- suggestions --- */

#define WORD_MAX 16

/* Levenshtein distance, or a large number when a string is too long to be a typing slip. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[WORD_MAX + 1];
	size_t n = strlen(b), m = strlen(a);

	if (n > WORD_MAX || m > WORD_MAX)
		return 99;
	for (unsigned j = 0; j <= n; j++)
		row[j] = j;
	for (unsigned i = 1; i <= m; i++) {
		unsigned diag = row[0];

		row[0] = i;
		for (unsigned j = 1; j <= n; j++) {
			unsigned subst = diag + (a[i - 1] != b[j - 1]);
			unsigned step = MIN_OF(row[j], row[j - 1]) + 1;

			diag = row[j];
			row[j] = MIN_OF(subst, step);
		}
	}
	return row[n];
}

/* " (did you mean 'x'?)" in @dst, or nothing. */
static const char *suggest(
	const struct word *w, size_t n, const char *text, char *dst, size_t dst_len)
{
	const char *best = NULL;
	unsigned best_d = 3;

	for (size_t i = 0; i < n; i++) {
		unsigned d = distance(text, w[i].text);

		if (d < best_d) {
			best = w[i].text;
			best_d = d;
		}
	}
	*dst = 0;
	if (best)
		(void)snprintf(dst, dst_len, " (did you mean '%s'?)", best);
	return dst;
}

static const struct word *find_word(const struct word *w, size_t n, const char *text)
{
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(w[i].text, text))
			return &w[i];
	}
	return NULL;
}

static int need_word(struct parse *ps, const char *slot, const struct word *w, size_t n,
	const char *text, unsigned *ret)
{
	const struct word *found = find_word(w, n, text);
	char hint[64];

	if (!found)
		return BAD(ps, "invalid %s '%.40s'%s", slot, text,
			suggest(w, n, text, hint, sizeof(hint)));
	*ret = found->value;
	return 0;
}

#define NEED_WORD(ps, slot, table, text, ret)                                                      \
	need_word(ps, slot, table, ARRAY_LEN(table), text, ret)

/* --- slots --- */

static int parse_port(const char *s, uint16_t *ret)
{
	uint64_t v;

	if (num_parse_u64(s, "port", 0, UINT16_MAX, &v, NULL) < 0)
		return -EINVAL;
	*ret = (uint16_t)v;
	return 0;
}

static int set_ports(struct parse *ps, uint16_t first, uint16_t last)
{
	struct policy_rule *r = &ps->rule;

	r->ports = calloc(1, sizeof(*r->ports));
	if (!r->ports)
		return err_set(ps->err, ENOMEM, "network rule '%.100s'", ps->token);
	r->ports[0] = (struct policy_ports){ first, last };
	r->n_ports = 1;
	return 0;
}

/* "LO-HI" or "N" into two ports. Return: 0; -EINVAL no such form. Order is not checked. */
static int split_ports(const char *text, uint16_t *first, uint16_t *last)
{
	const char *dash = strchr(text, '-');
	char lo[8];
	size_t n = dash ? (size_t)(dash - text) : 0;

	if (!dash) {
		if (parse_port(text, first) < 0)
			return -EINVAL;
		*last = *first;
		return 0;
	}
	if (n >= sizeof(lo))
		return -EINVAL;
	memcpy(lo, text, n);
	lo[n] = 0;
	return parse_port(lo, first) < 0 || parse_port(dash + 1, last) < 0 ? -EINVAL : 0;
}

static int parse_ports(struct parse *ps, const char *text)
{
	uint16_t first, last;

	if (!strcmp(text, "any"))
		return 0;
	if (split_ports(text, &first, &last) < 0)
		return BAD(ps, "invalid ports '%.40s': a port, LOW-HIGH or 'any'", text);
	if (first > last)
		return BAD(ps, "invalid port range '%.40s': the first is above the last", text);
	return set_ports(ps, first, last);
}

static int parse_proto(struct parse *ps, const char *text)
{
	unsigned proto = 0;
	int rc;

	if (!strcmp(text, "icmp"))
		return BAD(ps, "%s", "invalid protocol 'icmp': say 'icmpv4' or 'icmpv6'");
	rc = NEED_WORD(ps, "protocol", protocols, text, &proto);
	if (rc < 0)
		return rc;
	if ((proto & (POLICY_ICMP4 | POLICY_ICMP6)) && (ps->rule.dirs & POLICY_INGRESS))
		return BAD(ps, "%s", "ingress rules do not support icmp");
	ps->rule.protos = (uint8_t)proto;
	return 0;
}

/* What follows the target: "" or ":proto" or ":proto:ports", without its first colon. */
static int parse_filter(struct parse *ps, char *proto)
{
	char *ports;
	int rc;

	if (!proto)
		return 0;
	ports = strchr(proto, ':');
	if (ports)
		*ports++ = 0;
	if (ports && strchr(ports, ':'))
		return BAD(ps, "trailing ':%.40s' (IPv6 addresses are written in [brackets])",
			strchr(ports, ':') + 1);
	rc = parse_proto(ps, proto);
	return rc == 0 && ports ? parse_ports(ps, ports) : rc;
}

static int set_name(struct parse *ps, enum policy_dest dest, const char *text)
{
	char name[NAME_BUF];

	if (name_canon(text, strlen(text), name) < 0)
		return BAD(ps, "invalid domain '%.80s'", text);
	if (dest == POLICY_SUFFIX && name_labels(name) < 2)
		return BAD(ps, "invalid domain '%.80s': a suffix needs at least two labels", text);
	ps->rule.name = strdup(name);
	if (!ps->rule.name)
		return err_set(ps->err, ENOMEM, "network rule '%.100s'", ps->token);
	ps->rule.dest = dest;
	return 0;
}

static int set_cidr(struct parse *ps, const char *text)
{
	if (cidr_parse(text, &ps->rule.cidr) < 0)
		return BAD(ps, "invalid CIDR '%.60s'", text);
	ps->rule.dest = POLICY_CIDR;
	return 0;
}

static void set_addr(struct parse *ps, const struct ip_addr *a)
{
	ps->rule.cidr = (struct ip_cidr){ *a, ip_is_v4(a) ? 32 : 128 };
	ps->rule.dest = POLICY_CIDR;
}

/* Digits and dots only: meant as an address, whatever it is. */
static bool looks_like_ipv4(const char *s)
{
	return *s && s[strspn(s, "0123456789.")] == 0;
}

static int parse_target(struct parse *ps, const char *text)
{
	const struct word *w = find_word(targets, ARRAY_LEN(targets), text);
	struct ip_addr addr;
	char hint[64];

	if (!*text)
		return BAD(ps, "%s", "invalid target: it is empty");
	if (w) {
		ps->rule.dest = w->value == POLICY_GROUPS ? POLICY_ANY : POLICY_GROUP;
		ps->rule.group = w->value == POLICY_GROUPS ? 0 : (enum policy_group)w->value;
		return 0;
	}
	if (!strncmp(text, "*.", 2))
		return set_name(ps, POLICY_SUFFIX, text + 2);
	if (!strncmp(text, "suffix=", 7))
		return set_name(ps, POLICY_SUFFIX, text + 7);
	if (!strncmp(text, "domain=", 7))
		return set_name(ps, POLICY_DOMAIN, text + 7);
	if (strchr(text, '/'))
		return set_cidr(ps, text);
	if (ip_parse(text, &addr) == 0) {
		set_addr(ps, &addr);
		return 0;
	}
	if (strchr(text, '.'))
		return looks_like_ipv4(text) ? BAD(ps, "invalid IP address '%.60s'", text)
					     : set_name(ps, POLICY_DOMAIN, text);
	return BAD(ps, "'%.60s' is ambiguous: write domain=%.60s for a host of that name%s", text,
		text, suggest(targets, ARRAY_LEN(targets), text, hint, sizeof(hint)));
}

/* --- forms --- */

/* "[v6]" or "[v6/len]", then ":proto..." */
static int parse_bracketed(struct parse *ps, char *rest)
{
	char *end = strchr(rest, ']'), *filter = NULL;
	struct ip_addr addr;
	int rc = 0;

	if (!end)
		return BAD(ps, "%s", "unclosed bracket");
	*end++ = 0;
	rest++;
	if (*end == ':')
		filter = end + 1;
	else if (*end)
		return BAD(ps, "unexpected '%.40s' after the bracket", end);
	if (!strchr(rest, ':'))
		return BAD(ps, "'%.60s' in brackets is not an IPv6 address", rest);
	if (strchr(rest, '/'))
		rc = set_cidr(ps, rest);
	else if (ip_parse(rest, &addr) == 0)
		set_addr(ps, &addr);
	else
		return BAD(ps, "'%.60s' in brackets is not an IPv6 address", rest);
	return rc < 0 ? rc : parse_filter(ps, filter);
}

/* "dns", then ":any|tcp|udp" and ":any|53", where an empty slot means any */
static int parse_dns(struct parse *ps, char *proto)
{
	char *port = proto ? strchr(proto, ':') : NULL;

	if (port)
		*port++ = 0;
	if (ps->rule.dirs != POLICY_EGRESS)
		return BAD(ps, "%s", "'dns' is for egress only");
	ps->rule.dest = POLICY_GROUP;
	ps->rule.group = POLICY_GROUP_HOST;
	ps->rule.protos = POLICY_TCP | POLICY_UDP;
	if (proto && !strcmp(proto, "tcp"))
		ps->rule.protos = POLICY_TCP;
	else if (proto && !strcmp(proto, "udp"))
		ps->rule.protos = POLICY_UDP;
	else if (proto && *proto && strcmp(proto, "any") != 0)
		return BAD(ps, "invalid dns protocol '%.40s': any, tcp or udp", proto);
	if (port && *port && strcmp(port, "any") != 0 && strcmp(port, "53") != 0)
		return BAD(ps, "invalid dns port '%.40s': only 53", port);
	return set_ports(ps, 53, 53);
}

/* Two slips worth their own words, found before the target is looked at. */
static int check_slots(struct parse *ps, const char *target, const char *filter)
{
	size_t len = filter ? strcspn(filter, ":") : 0;
	uint16_t first, last;
	char slot[16];

	if (len && len < sizeof(slot)) {
		memcpy(slot, filter, len);
		slot[len] = 0;
		if (split_ports(slot, &first, &last) == 0)
			return BAD(
				ps, "port in the protocol slot: write %.60s:tcp:%s", target, slot);
	}
	if (filter && filter[len] && strchr(filter + len + 1, ':'))
		return BAD(ps, "trailing '%.40s' (IPv6 addresses are written in [brackets])",
			strchr(filter + len + 1, ':'));
	return 0;
}

static int parse_plain(struct parse *ps, char *rest)
{
	char *filter = strchr(rest, ':');
	int rc;

	if (filter)
		*filter++ = 0;
	if (!strcmp(rest, "dns"))
		return parse_dns(ps, filter);
	rc = check_slots(ps, rest, filter);
	if (rc == 0)
		rc = parse_target(ps, rest);
	return rc < 0 ? rc : parse_filter(ps, filter);
}

static int parse_left(struct parse *ps, char *left)
{
	char *dir = strchr(left, ':');
	unsigned value = 0;
	int rc;

	if (dir)
		*dir++ = 0;
	rc = NEED_WORD(ps, "action", actions, left, &value);
	if (rc < 0)
		return rc;
	ps->rule.allow = value;
	value = POLICY_EGRESS;
	if (dir)
		rc = NEED_WORD(ps, "direction", directions, dir, &value);
	ps->rule.dirs = (uint8_t)value;
	return rc;
}

static int parse_token(struct policy *p, const char *token, struct err *err)
{
	struct parse ps = { .token = token, .err = err };
	char copy[TOKEN_MAX];
	char *at;
	int rc;

	memcpy(copy, token, strlen(token) + 1);
	at = strchr(copy, '@');
	if (!at)
		return BAD(&ps, "%s", "no '@': action[:direction]@target[:protocol[:ports]]");
	*at++ = 0;
	rc = parse_left(&ps, copy);
	if (rc == 0)
		rc = *at == '[' ? parse_bracketed(&ps, at) : parse_plain(&ps, at);
	if (rc < 0) {
		policy_rule_release(&ps.rule);
		return rc;
	}
	return policy_add(p, &ps.rule, err);
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Drops the rules behind the first @n. */
static void truncate_rules(struct policy *p, size_t n)
{
	while (p->n_rules > n)
		policy_rule_release(&p->rules[--p->n_rules]);
}

int policy_parse_rules(struct policy *p, const char *text, struct err *err)
{
	size_t before = p->n_rules;

	for (const char *s = text;;) {
		size_t part = strcspn(s, ","), len = part;
		const char *tok = s;
		char token[TOKEN_MAX];
		int rc = 0;

		for (; len && is_blank(*tok); tok++)
			len--;
		while (len && is_blank(tok[len - 1]))
			len--;
		if (len >= TOKEN_MAX) {
			rc = err_msg(err, EINVAL, "network rule '%.60s...' is too long", tok);
		} else if (len) {
			memcpy(token, tok, len);
			token[len] = 0;
			rc = parse_token(p, token, err);
		}
		if (rc < 0) {
			truncate_rules(p, before);
			return rc;
		}
		s += part;
		if (!*s++)
			return 0;
	}
}

/* --- formatting --- */

static const char *word_of(const struct word *w, size_t n, unsigned value)
{
	for (size_t i = 0; i < n; i++) {
		if (w[i].value == value)
			return w[i].text;
	}
	return "several";
}

static void format_target(const struct policy_rule *r, char *dst, size_t len)
{
	char text[IP_STRLEN];
	bool v6 = r->dest == POLICY_CIDR && !ip_is_v4(&r->cidr.addr);

	switch (r->dest) {
	case POLICY_ANY:
		(void)snprintf(dst, len, "any");
		break;
	case POLICY_GROUP:
		(void)snprintf(dst, len, "%s", policy_group_word[r->group]);
		break;
	case POLICY_CIDR:
		(void)snprintf(dst, len, v6 ? "[%s]" : "%s", cidr_format(&r->cidr, text));
		break;
	case POLICY_DOMAIN:
		(void)snprintf(dst, len, "domain=%s", r->name);
		break;
	case POLICY_SUFFIX:
		(void)snprintf(dst, len, "*.%s", r->name);
		break;
	}
}

/* ":proto[:ports]" or nothing; several protocols or ranges are joined with '+' */
static void format_filter(const struct policy_rule *r, char *dst, size_t len)
{
	size_t n = 0;

	*dst = 0;
	if (!r->protos && !r->n_ports)
		return;
	for (unsigned bit = POLICY_TCP; bit <= POLICY_ICMP6 && n < len; bit <<= 1) {
		if (r->protos & bit)
			n += (size_t)snprintf(dst + n, len - n, "%c%s", n ? '+' : ':',
				word_of(protocols, ARRAY_LEN(protocols), bit));
	}
	if (!r->protos)
		n += (size_t)snprintf(dst + n, len - n, ":any");
	for (size_t i = 0; i < r->n_ports && n < len; i++)
		n += (size_t)snprintf(dst + n, len - n,
			r->ports[i].first == r->ports[i].last ? "%c%u" : "%c%u-%u", i ? '+' : ':',
			r->ports[i].first, r->ports[i].last);
}

char *policy_rule_format(const struct policy_rule *r, char *dst, size_t len)
{
	char target[NAME_BUF + 16], filter[128];

	format_target(r, target, sizeof(target));
	format_filter(r, filter, sizeof(filter));
	(void)snprintf(dst, len, "%s:%s@%s%s", r->allow ? "allow" : "deny",
		word_of(directions, ARRAY_LEN(directions), r->dirs), target, filter);
	return dst;
}
