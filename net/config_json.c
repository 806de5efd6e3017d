/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON form of the network configuration. Absent fields keep their default; a present field of the
 * wrong type is an error that names it. A policy object without its defaults denies: fail closed.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/num.h"
#include "net/config.h"

static int bad_field(const char *name, const char *want, struct err *err)
{
	return err_msg(err, EINVAL, "network configuration: '%s' is not %s", name, want);
}

/* A member that is neither absent nor null. */
static json_t *get(const json_t *obj, const char *name)
{
	json_t *v = json_object_get(obj, name);

	return json_is_null(v) ? NULL : v;
}

static int get_bool(const json_t *obj, const char *name, bool *ret, struct err *err)
{
	json_t *v = get(obj, name);

	if (!v)
		return 0;
	if (!json_is_boolean(v))
		return bad_field(name, "true or false", err);
	*ret = json_is_true(v);
	return 0;
}

static int to_int(
	const json_t *v, const char *name, int64_t min, int64_t max, int64_t *ret, struct err *err)
{
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return bad_field(name, "a whole number in range", err);
	*ret = json_integer_value(v);
	return 0;
}

static int get_int(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *ret,
	struct err *err)
{
	json_t *v = get(obj, name);

	return v ? to_int(v, name, min, max, ret, err) : 0;
}

static int get_u64(const json_t *obj, const char *name, uint64_t *ret, struct err *err)
{
	int64_t v = (int64_t)*ret;
	int rc = get_int(obj, name, 0, INT64_MAX, &v, err);

	*ret = (uint64_t)v;
	return rc;
}

/* Text without NUL inside, or NULL. */
static const char *text_of(const json_t *v)
{
	const char *s = json_string_value(v);

	return s && strlen(s) == json_string_length(v) ? s : NULL;
}

static int get_port(const json_t *obj, const char *name, uint16_t *ret, struct err *err)
{
	int64_t v = 0;
	json_t *j = get(obj, name);
	int rc = j ? to_int(j, name, 0, UINT16_MAX, &v, err) : bad_field(name, "given", err);

	if (rc == 0)
		*ret = (uint16_t)v;
	return rc;
}

static int get_ip(const json_t *obj, const char *name, bool v4, struct ip_addr *ret, bool *has,
	struct err *err)
{
	json_t *v = get(obj, name);

	if (!v)
		return 0;
	if (!text_of(v) || ip_parse(text_of(v), ret) < 0 || ip_is_v4(ret) != v4)
		return bad_field(name, v4 ? "an IPv4 address" : "an IPv6 address", err);
	*has = true;
	return 0;
}

static int get_cidr(const json_t *obj, const char *name, struct ip_cidr *ret, struct err *err)
{
	json_t *v = get(obj, name);

	if (v && (!text_of(v) || cidr_parse(text_of(v), ret) < 0))
		return bad_field(name, "a CIDR", err);
	return 0;
}

/* The position of @v's text in @words; -1 for anything else. */
static int word_index(const json_t *v, const char *const *words, size_t n)
{
	for (size_t i = 0; text_of(v) && i < n; i++) {
		if (!strcmp(text_of(v), words[i]))
			return (int)i;
	}
	return -1;
}

static const char *const action_words[] = { "deny", "allow" };
static const char *const proto_words[] = { "tcp", "udp", "icmpv4", "icmpv6" };
static const char *const dir_words[] = { "egress", "ingress", "any" };

static int get_action(
	const json_t *obj, const char *name, bool required, bool *ret, struct err *err)
{
	json_t *v = get(obj, name);
	int i = word_index(v, action_words, ARRAY_LEN(action_words));

	if (i < 0 && (v || required))
		return bad_field(name, "'allow' or 'deny'", err);
	*ret = i == 1;
	return 0;
}

/* --- policy --- */

static int read_name(const json_t *v, enum policy_dest dest, struct policy_rule *r, struct err *err)
{
	char name[NAME_BUF];

	if (!text_of(v) || name_canon(text_of(v), strlen(text_of(v)), name) < 0)
		return bad_field("destination", "a domain name", err);
	r->name = strdup(name);
	if (!r->name)
		return err_set(err, ENOMEM, "network rule");
	r->dest = dest;
	return 0;
}

static int read_destination(const json_t *v, struct policy_rule *r, struct err *err)
{
	const char *key = json_object_iter_key(json_object_iter((json_t *)v));
	const json_t *val = key ? json_object_get(v, key) : NULL;
	int i;

	if (text_of(v) && !strcmp(text_of(v), "any")) {
		r->dest = POLICY_ANY;
		return 0;
	}
	if (!key || json_object_size(v) != 1)
		return bad_field("destination", "\"any\" or an object with one key", err);
	if (!strcmp(key, "domain"))
		return read_name(val, POLICY_DOMAIN, r, err);
	if (!strcmp(key, "domain_suffix"))
		return read_name(val, POLICY_SUFFIX, r, err);
	if (!strcmp(key, "cidr")) {
		r->dest = POLICY_CIDR;
		return text_of(val) && cidr_parse(text_of(val), &r->cidr) == 0
			       ? 0
			       : bad_field("cidr", "a CIDR", err);
	}
	i = word_index(val, policy_group_json, POLICY_GROUPS);
	if (strcmp(key, "group") != 0 || i < 0)
		return bad_field("destination", "of a known kind", err);
	r->dest = POLICY_GROUP;
	r->group = (enum policy_group)i;
	return 0;
}

static int read_protocols(const json_t *arr, struct policy_rule *r, struct err *err)
{
	size_t i;
	json_t *v;

	if (arr && !json_is_array(arr))
		return bad_field("protocols", "a list", err);
	json_array_foreach((json_t *)arr, i, v)
	{
		int bit = word_index(v, proto_words, ARRAY_LEN(proto_words));

		if (bit < 0)
			return bad_field("protocols", "a list of tcp, udp, icmpv4, icmpv6", err);
		r->protos |= (uint8_t)(1u << bit);
	}
	return 0;
}

static int read_ranges(const json_t *arr, struct policy_rule *r, struct err *err)
{
	size_t i, n = json_array_size(arr);
	json_t *v;

	if (arr && !json_is_array(arr))
		return bad_field("ports", "a list", err);
	if (!n)
		return 0;
	if (n > UINT16_MAX)
		return bad_field("ports", "short enough", err);
	r->ports = calloc(n, sizeof(*r->ports));
	if (!r->ports)
		return err_set(err, ENOMEM, "network rule");
	json_array_foreach((json_t *)arr, i, v)
	{
		struct policy_ports *p = &r->ports[r->n_ports++];
		int rc = get_port(v, "start", &p->first, err);

		if (rc == 0)
			rc = get_port(v, "end", &p->last, err);
		if (rc < 0)
			return rc;
		if (p->first > p->last)
			return bad_field("ports", "a list of ascending ranges", err);
	}
	return 0;
}

static int read_rule(const json_t *v, struct policy_rule *r, struct err *err)
{
	int dir = word_index(get(v, "direction"), dir_words, ARRAY_LEN(dir_words));
	int rc;

	if (dir < 0)
		return bad_field("direction", "egress, ingress or any", err);
	r->dirs = (uint8_t)(dir + 1);
	rc = get_action(v, "action", true, &r->allow, err);
	if (rc == 0)
		rc = read_destination(get(v, "destination"), r, err);
	if (rc == 0)
		rc = read_protocols(get(v, "protocols"), r, err);
	if (rc == 0)
		rc = read_ranges(get(v, "ports"), r, err);
	return rc;
}

static int read_own_policy(const json_t *obj, struct policy *p, struct err *err)
{
	const json_t *rules = get(obj, "rules");
	size_t i;
	json_t *v;
	int rc;

	policy_release(p);
	if (!json_is_object(obj))
		return bad_field("policy", "an object", err);
	rc = get_action(obj, "default_egress", false, &p->allow_egress, err);
	if (rc == 0)
		rc = get_action(obj, "default_ingress", false, &p->allow_ingress, err);
	if (rc == 0 && rules && !json_is_array(rules))
		rc = bad_field("rules", "a list", err);
	if (rc < 0)
		return rc;
	json_array_foreach((json_t *)rules, i, v)
	{
		struct policy_rule r = { 0 };

		rc = read_rule(v, &r, err);
		if (rc < 0) {
			policy_rule_release(&r);
			return err_wrap(err, "rule %zu", i + 1);
		}
		rc = policy_add(p, &r, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* With "platform", the policy that must allow as well; there is none behind that. */
static int read_policy(const json_t *obj, struct policy *p, struct err *err)
{
	const json_t *platform = get(obj, "platform");
	int rc = read_own_policy(obj, p, err);

	if (rc < 0 || !platform)
		return rc;
	if (get(platform, "platform"))
		return bad_field("platform", "without a platform of its own", err);
	p->platform = calloc(1, sizeof(*p->platform));
	if (!p->platform)
		return err_set(err, ENOMEM, "network policy");
	rc = read_own_policy(platform, p->platform, err);
	return rc < 0 ? err_wrap(err, "platform") : 0;
}

/* --- the rest --- */

static int read_mac(const json_t *arr, struct net_config *c, struct err *err)
{
	size_t i;
	json_t *v;

	if (!arr)
		return 0;
	if (json_array_size(arr) != 6)
		return bad_field("mac", "a list of six numbers", err);
	json_array_foreach((json_t *)arr, i, v)
	{
		int64_t n = 0;
		int rc = to_int(v, "mac", 0, 255, &n, err);

		if (rc < 0)
			return rc;
		c->mac.b[i] = (uint8_t)n;
	}
	c->has_mac = true;
	return 0;
}

static int read_interface(const json_t *obj, struct net_config *c, struct err *err)
{
	int64_t mtu = c->mtu;
	int rc = 0;

	if (obj && !json_is_object(obj))
		return bad_field("interface", "an object", err);
	rc = read_mac(get(obj, "mac"), c, err);
	if (rc == 0)
		rc = get_int(obj, "mtu", 0, UINT16_MAX, &mtu, err);
	c->mtu = (uint16_t)mtu;
	if (rc == 0)
		rc = get_ip(obj, "ipv4_address", true, &c->addr4, &c->has_addr4, err);
	if (rc == 0)
		rc = get_ip(obj, "ipv6_address", false, &c->addr6, &c->has_addr6, err);
	if (rc == 0)
		rc = get_cidr(obj, "ipv4_pool", &c->pool4, err);
	if (rc == 0)
		rc = get_cidr(obj, "ipv6_pool", &c->pool6, err);
	return rc;
}

static int read_port_entry(const json_t *v, struct net_config *c, struct err *err)
{
	static const char *const words[] = { "tcp", "udp", "Tcp", "Udp" };
	struct net_publish p = { .bind = IP_V4(127, 0, 0, 1) };
	json_t *proto = get(v, "protocol"), *bind = get(v, "host_bind");
	int i = proto ? word_index(proto, words, ARRAY_LEN(words)) : 0;
	int rc = get_port(v, "host_port", &p.host_port, err);

	if (rc == 0)
		rc = get_port(v, "guest_port", &p.guest_port, err);
	if (rc == 0 && i < 0)
		rc = bad_field("protocol", "tcp or udp", err);
	if (rc == 0 && bind && (!text_of(bind) || ip_parse(text_of(bind), &p.bind) < 0))
		rc = bad_field("host_bind", "an IP address", err);
	p.udp = i & 1;
	return rc < 0 ? rc : net_config_add_publish(c, &p, err);
}

/* Calls @fn for each element of a list that may be absent. */
static int each(const json_t *obj, const char *name,
	int (*fn)(const json_t *v, struct net_config *c, struct err *err), struct net_config *c,
	struct err *err)
{
	json_t *arr = get(obj, name), *v;
	size_t i;

	if (arr && !json_is_array(arr))
		return bad_field(name, "a list", err);
	json_array_foreach(arr, i, v)
	{
		int rc = fn(v, c, err);

		if (rc < 0)
			return err_wrap(err, "%s, entry %zu", name, i + 1);
	}
	return 0;
}

static int read_nameserver(const json_t *v, struct net_config *c, struct err *err)
{
	if (!text_of(v))
		return bad_field("nameservers", "a list of texts", err);
	return net_config_add_nameserver(c, text_of(v), err);
}

static int read_dns(const json_t *obj, struct net_config *c, struct err *err)
{
	int rc;

	if (obj && !json_is_object(obj))
		return bad_field("dns", "an object", err);
	rc = get_bool(obj, "rebind_protection", &c->rebind_protection, err);
	if (rc == 0)
		rc = get_u64(obj, "query_timeout_ms", &c->dns_timeout_ms, err);
	if (rc == 0)
		rc = each(obj, "nameservers", read_nameserver, c, err);
	return rc;
}

static int read_bucket(const json_t *obj, struct net_bucket *b, struct err *err)
{
	int rc;

	if (!obj)
		return 0;
	if (!get(obj, "size") || !get(obj, "refill_time_ms"))
		return bad_field("rate_limiter", "complete: size and refill_time_ms", err);
	rc = get_u64(obj, "size", &b->size, err);
	if (rc == 0)
		rc = get_u64(obj, "refill_time_ms", &b->refill_ms, err);
	if (rc == 0)
		rc = get_u64(obj, "one_time_burst", &b->burst, err);
	if (rc == 0 && (!b->size || !b->refill_ms))
		return bad_field("rate_limiter", "above zero", err);
	return rc;
}

static int read_rate(const json_t *obj, struct net_rate *r, struct err *err)
{
	int rc;

	if (!obj)
		return 0;
	if (!get(obj, "bandwidth") && !get(obj, "ops"))
		return bad_field("rate_limiter", "a limiter with bandwidth or ops", err);
	rc = read_bucket(get(obj, "bandwidth"), &r->bytes, err);
	return rc < 0 ? rc : read_bucket(get(obj, "ops"), &r->ops, err);
}

static int read_limits(const json_t *obj, struct net_config *c, struct err *err)
{
	const json_t *rate = get(obj, "rate_limiter");
	int rc = get_int(obj, "max_connections", 0, UINT32_MAX, &c->max_tcp, err);

	if (rc == 0)
		rc = get_int(obj, "max_tcp_connections", 0, UINT32_MAX, &c->max_tcp, err);
	if (rc == 0)
		rc = get_int(obj, "max_udp_connections", 0, UINT32_MAX, &c->max_udp, err);
	if (rc == 0)
		rc = read_rate(get(rate, "egress"), &c->from_guest, err);
	if (rc == 0)
		rc = read_rate(get(rate, "ingress"), &c->to_guest, err);
	return rc;
}

static int dup_text(const json_t *v, const char *name, char **ret, struct err *err)
{
	const char *s = text_of(v);

	if (!v)
		return 0;
	if (!s || !*s || strlen(s) > 255)
		return bad_field(name, "a text of 1 to 255 bytes", err);
	*ret = strdup(s);
	return *ret ? 0 : err_set(err, ENOMEM, "read '%s'", name);
}

static int read_proxy(const json_t *obj, struct net_proxy *p, struct err *err)
{
	static const char *const words[] = { "socks4", "socks5" };
	const json_t *addr = get(obj, "address"), *cred = get(obj, "credentials");
	int kind = word_index(get(obj, "protocol"), words, ARRAY_LEN(words)), rc;

	if (!obj)
		return 0;
	if (kind < 0)
		return bad_field("outbound_proxy.protocol", "socks4 or socks5", err);
	p->kind = kind ? NET_PROXY_SOCKS5 : NET_PROXY_SOCKS4;
	if (!text_of(addr) || ip_port_parse(text_of(addr), &p->addr) < 0 || !p->addr.port)
		return bad_field("outbound_proxy.address", "IP:PORT", err);
	if (!kind)
		return dup_text(get(obj, "user_id"), "user_id", &p->user, err);
	if (!cred)
		return 0;
	rc = dup_text(get(cred, "username"), "username", &p->user, err);
	if (rc == 0)
		rc = dup_text(get(cred, "password"), "password", &p->password, err);
	if (rc == 0 && (!p->user || !p->password))
		return bad_field("credentials", "a username with a password", err);
	return rc;
}

/* Asking for what this build cannot do must not look as if it were done. */
static int refuse_unsupported(const json_t *root, struct err *err)
{
	bool tls = false;
	int rc = get_bool(get(root, "tls"), "enabled", &tls, err);

	if (rc == 0 && tls)
		rc = err_msg(err, ENOTSUP, "TLS interception is not supported");
	if (rc == 0 && json_array_size(get(get(root, "secrets"), "secrets")))
		rc = err_msg(err, ENOTSUP, "secrets are not supported");
	return rc;
}

static int read_root(const json_t *root, struct net_config *c, struct err *err)
{
	int rc = json_is_object(root) ? 0 : bad_field("network", "an object", err);

	if (rc == 0)
		rc = refuse_unsupported(root, err);
	if (rc == 0)
		rc = get_bool(root, "enabled", &c->enabled, err);
	if (rc == 0)
		rc = read_interface(get(root, "interface"), c, err);
	if (rc == 0)
		rc = each(root, "ports", read_port_entry, c, err);
	if (rc == 0 && get(root, "policy"))
		rc = read_policy(get(root, "policy"), &c->policy, err);
	if (rc == 0)
		rc = read_dns(get(root, "dns"), c, err);
	if (rc == 0)
		rc = read_limits(root, c, err);
	if (rc == 0)
		rc = get_bool(root, "trust_host_cas", &c->trust_host_cas, err);
	if (rc == 0)
		rc = get_bool(root, "strict", &c->strict, err);
	if (rc == 0)
		rc = read_proxy(get(root, "outbound_proxy"), &c->proxy, err);
	return rc < 0 ? rc : net_config_check(c, err);
}

int net_config_from_json(struct net_config *c, const char *text, size_t len, struct err *err)
{
	json_error_t je;
	cleanup_json json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
	int rc = net_config_init(c, err);

	if (rc < 0)
		return rc;
	if (!root)
		return err_msg(err, EINVAL, "network configuration, line %d: %s", je.line, je.text);
	return read_root(root, c, err);
}

/* --- writing --- */

static json_t *destination_json(const struct policy_rule *r)
{
	char text[IP_STRLEN];

	switch (r->dest) {
	case POLICY_CIDR:
		return json_pack("{ss}", "cidr", cidr_format(&r->cidr, text));
	case POLICY_GROUP:
		return json_pack("{ss}", "group", policy_group_json[r->group]);
	case POLICY_DOMAIN:
		return json_pack("{ss}", "domain", r->name);
	case POLICY_SUFFIX:
		return json_pack("{ss}", "domain_suffix", r->name);
	case POLICY_ANY:
		break;
	}
	return json_string("any");
}

static json_t *rule_json(const struct policy_rule *r)
{
	json_t *protos = json_array(), *ports = json_array();

	for (size_t i = 0; i < ARRAY_LEN(proto_words); i++) {
		if (r->protos & (1u << i))
			(void)json_array_append_new(protos, json_string(proto_words[i]));
	}
	for (size_t i = 0; i < r->n_ports; i++)
		(void)json_array_append_new(ports,
			json_pack("{sisi}", "start", r->ports[i].first, "end", r->ports[i].last));
	return json_pack("{sssosososs}", "direction", dir_words[r->dirs - 1], "destination",
		destination_json(r), "protocols", protos, "ports", ports, "action",
		action_words[r->allow]);
}

static json_t *policy_json(const struct policy *p)
{
	json_t *rules = json_array(), *j;

	for (size_t i = 0; i < p->n_rules; i++)
		(void)json_array_append_new(rules, rule_json(&p->rules[i]));
	j = json_pack("{ssssso}", "default_egress", action_words[p->allow_egress],
		"default_ingress", action_words[p->allow_ingress], "rules", rules);
	if (j && p->platform)
		(void)json_object_set_new(j, "platform", policy_json(p->platform));
	return j;
}

static json_t *bucket_json(const struct net_bucket *b)
{
	if (!b->size)
		return json_null();
	return json_pack("{sIsIsI}", "size", (json_int_t)b->size, "refill_time_ms",
		(json_int_t)b->refill_ms, "one_time_burst", (json_int_t)b->burst);
}

static json_t *rate_json(const struct net_rate *r)
{
	if (!r->bytes.size && !r->ops.size)
		return json_null();
	return json_pack(
		"{soso}", "bandwidth", bucket_json(&r->bytes), "ops", bucket_json(&r->ops));
}

static json_t *mac_json(const struct net_config *c)
{
	json_t *a;

	if (!c->has_mac)
		return json_null();
	a = json_array();
	for (unsigned i = 0; i < 6; i++)
		(void)json_array_append_new(a, json_integer(c->mac.b[i]));
	return a;
}

static json_t *ip_json(bool has, const struct ip_addr *a)
{
	char text[IP_STRLEN];

	return has ? json_string(ip_format(a, text)) : json_null();
}

static json_t *interface_json(const struct net_config *c)
{
	char pool4[IP_STRLEN], pool6[IP_STRLEN];

	return json_pack("{sosisosssoss}", "mac", mac_json(c), "mtu", c->mtu, "ipv4_address",
		ip_json(c->has_addr4, &c->addr4), "ipv4_pool", cidr_format(&c->pool4, pool4),
		"ipv6_address", ip_json(c->has_addr6, &c->addr6), "ipv6_pool",
		cidr_format(&c->pool6, pool6));
}

static json_t *ports_json(const struct net_config *c)
{
	json_t *arr = json_array();
	char text[IP_STRLEN];

	for (size_t i = 0; i < c->n_ports; i++) {
		const struct net_publish *p = &c->ports[i];

		(void)json_array_append_new(
			arr, json_pack("{sisissss}", "host_port", p->host_port, "guest_port",
				     p->guest_port, "protocol", p->udp ? "udp" : "tcp", "host_bind",
				     ip_format(&p->bind, text)));
	}
	return arr;
}

static json_t *dns_json(const struct net_config *c)
{
	json_t *servers = json_array();

	for (size_t i = 0; i < c->n_nameservers; i++)
		(void)json_array_append_new(servers, json_string(c->nameservers[i]));
	return json_pack("{sbsosI}", "rebind_protection", c->rebind_protection, "nameservers",
		servers, "query_timeout_ms", (json_int_t)c->dns_timeout_ms);
}

/* Without the password: this form is for people to read. */
static json_t *proxy_json(const struct net_proxy *p)
{
	char text[IP_STRLEN];

	if (p->kind == NET_PROXY_NONE)
		return json_null();
	return json_pack("{ssss}", "protocol", p->kind == NET_PROXY_SOCKS4 ? "socks4" : "socks5",
		"address", ip_port_format(&p->addr.addr, p->addr.port, text));
}

static json_t *limit_json(int64_t v)
{
	return v == NET_UNSET ? json_null() : json_integer(v);
}

char *policy_to_json(const struct policy *p)
{
	cleanup_json json_t *j = policy_json(p);

	return json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS);
}

char *net_config_to_json(const struct net_config *c)
{
	cleanup_json json_t *j = json_pack("{sbsosososososbsbsoso}", "enabled", c->enabled,
		"interface", interface_json(c), "ports", ports_json(c), "policy",
		policy_json(&c->policy), "dns", dns_json(c), "max_connections",
		limit_json(c->max_tcp), "strict", c->strict, "trust_host_cas", c->trust_host_cas,
		"max_udp_connections", limit_json(c->max_udp), "outbound_proxy",
		proxy_json(&c->proxy));

	if (j)
		(void)json_object_set_new(j, "rate_limiter",
			json_pack("{soso}", "egress", rate_json(&c->from_guest), "ingress",
				rate_json(&c->to_guest)));
	return json_dumps(j, JSON_INDENT(2) | JSON_SORT_KEYS);
}
