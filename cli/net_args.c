/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value that is malformed is a failure (EDOM, exit code 1); a word that is none of a list, and
 * flags that do not go together, are wrong usage (EINVAL, exit code 2): cli.md 2.4.
 */
#include "cli/net_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/num.h"

#define TIMEOUT_MAX_MS	 3600000
#define CREDENTIAL_MAX	 255
#define PASSWORD_ENV_MAX 128

/* A parser's "malformed" is not wrong usage. */
static int as_bad_value(int rc)
{
	return rc == -EINVAL ? -EDOM : rc;
}

static int add_word(struct words *w, const char *word, struct err *err)
{
	const char **v = reallocarray(w->v, w->n + 1, sizeof(*v));

	if (!v)
		return err_set(err, ENOMEM, "keep an option");
	w->v = v;
	v[w->n++] = word;
	return 0;
}

/* ---- policy ---- */

static int set_profile(void *target, const char *value, struct err *err)
{
	struct policy_args alone = { .profiles = &value, .n_profiles = 1 };
	struct net_args *a = target;
	cleanup_policy struct policy ignored = { 0 };
	int rc = policy_from_args(&ignored, &alone, err);

	return rc < 0 ? as_bad_value(rc) : add_word(&a->profiles, value, err);
}

static int set_rule(void *target, const char *value, struct err *err)
{
	cleanup_policy struct policy ignored = { 0 };
	struct net_args *a = target;
	int rc = policy_parse_rules(&ignored, value, err);

	return rc < 0 ? as_bad_value(rc) : add_word(&a->rules, value, err);
}

static int set_no_net(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->no_net = true;
	return 0;
}

static int set_default_word(const char **dst, const char *value, struct err *err)
{
	if (strcmp(value, "allow") != 0 && strcmp(value, "deny") != 0)
		return err_msg(err, EINVAL, "'%s' is neither 'allow' nor 'deny'", value);
	*dst = value;
	return 0;
}

static int set_default(void *target, const char *value, struct err *err)
{
	return set_default_word(&((struct net_args *)target)->default_both, value, err);
}

static int set_default_egress(void *target, const char *value, struct err *err)
{
	return set_default_word(&((struct net_args *)target)->default_egress, value, err);
}

static int set_default_ingress(void *target, const char *value, struct err *err)
{
	return set_default_word(&((struct net_args *)target)->default_ingress, value, err);
}

static int set_strict(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->config.strict = true;
	return 0;
}

static int set_file(void *target, const char *value, struct err *err)
{
	return as_bad_value(net_file_load(&((struct net_args *)target)->file, value, err));
}

static int set_show(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->show = true;
	return 0;
}

static int set_deployment(void *target, const char *value, struct err *err)
{
	bool multi = strcmp(value, "multi-tenant") == 0;

	if (!multi && strcmp(value, "single-tenant") != 0)
		return err_msg(
			err, EINVAL, "'%s' is neither 'single-tenant' nor 'multi-tenant'", value);
	((struct net_args *)target)->multi_tenant = multi;
	return 0;
}

/* ---- ports, names, addresses ---- */

static int add_port(struct net_config *c, const char *value, struct err *err)
{
	struct net_publish p;
	char text[IP_STRLEN];
	int rc = net_publish_parse(value, &p, err);

	if (rc < 0)
		return as_bad_value(rc);
	for (size_t i = 0; i < c->n_ports; i++) {
		const struct net_publish *q = &c->ports[i];

		if (p.host_port && q->host_port == p.host_port && q->udp == p.udp &&
			ip_equal(&q->bind, &p.bind))
			return err_msg(err, EDOM, "%s/%s is published twice",
				ip_port_format(&p.bind, p.host_port, text), p.udp ? "udp" : "tcp");
	}
	return net_config_add_publish(c, &p, err);
}

static int set_port(void *target, const char *value, struct err *err)
{
	return add_port(&((struct net_args *)target)->config, value, err);
}

static int set_nameserver(void *target, const char *value, struct err *err)
{
	return as_bad_value(
		net_config_add_nameserver(&((struct net_args *)target)->config, value, err));
}

static int set_timeout(void *target, const char *value, struct err *err)
{
	struct net_args *a = target;

	a->timeout_given = true;
	return num_parse_u64(value, "timeout", 1, TIMEOUT_MAX_MS, &a->config.dns_timeout_ms, err);
}

static int set_no_rebind(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->config.rebind_protection = false;
	return 0;
}

static int set_host_cas(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->config.trust_host_cas = true;
	return 0;
}

static int set_pool(struct ip_cidr *dst, const char *value, bool v4, struct err *err)
{
	const unsigned max = v4 ? 30 : 64;
	struct ip_cidr pool;

	if (cidr_parse(value, &pool) < 0 || ip_is_v4(&pool.addr) != v4 || pool.bits > max)
		return err_msg(err, EDOM, "'%s' is not an IPv%d network of at most /%u", value,
			v4 ? 4 : 6, max);
	*dst = pool;
	return 0;
}

static int set_pool4(void *target, const char *value, struct err *err)
{
	return set_pool(&((struct net_args *)target)->config.pool4, value, true, err);
}

static int set_pool6(void *target, const char *value, struct err *err)
{
	((struct net_args *)target)->want_v6 = true;
	return set_pool(&((struct net_args *)target)->config.pool6, value, false, err);
}

/* ---- limits ---- */

static int set_count(int64_t *dst, const char *value, struct err *err)
{
	uint64_t n;
	int rc = num_parse_u64(value, "number of connections", 0, UINT32_MAX, &n, err);

	if (rc == 0)
		*dst = (int64_t)n;
	return rc;
}

static int set_max_tcp(void *target, const char *value, struct err *err)
{
	return set_count(&((struct net_args *)target)->config.max_tcp, value, err);
}

static int set_max_udp(void *target, const char *value, struct err *err)
{
	return set_count(&((struct net_args *)target)->config.max_udp, value, err);
}

/* The burst of a bucket stays, whichever of the two comes first. */
static int set_rate(struct net_bucket *b, const char *value, bool bytes, struct err *err)
{
	uint64_t burst = b->burst;
	int rc = net_bucket_parse(value, bytes, b, err);

	b->burst = burst;
	return as_bad_value(rc);
}

static int set_burst(struct net_bucket *b, const char *value, bool bytes, struct err *err)
{
	int rc = bytes ? num_parse_size(value, "burst", 1, &b->burst, err)
		       : num_parse_u64(value, "burst", 1, UINT32_MAX, &b->burst, err);

	if (rc == 0 && b->burst == 0)
		return err_msg(err, EDOM, "burst '%s' is zero", value);
	return as_bad_value(rc);
}

#define RATE_SETTERS(name, member, bytes)                                                          \
	static int set_##name(void *target, const char *value, struct err *err)                    \
	{                                                                                          \
		return set_rate(&((struct net_args *)target)->config.member, value, bytes, err);   \
	}                                                                                          \
	static int set_##name##_burst(void *target, const char *value, struct err *err)            \
	{                                                                                          \
		return set_burst(&((struct net_args *)target)->config.member, value, bytes, err);  \
	}

RATE_SETTERS(egress_bytes, from_guest.bytes, true)
RATE_SETTERS(egress_ops, from_guest.ops, false)
RATE_SETTERS(ingress_bytes, to_guest.bytes, true)
RATE_SETTERS(ingress_ops, to_guest.ops, false)

/* ---- proxy ---- */

static int set_proxy(void *target, const char *value, struct err *err)
{
	struct net_proxy *p = &((struct net_args *)target)->config.proxy;
	enum net_proxy_kind kind = strncmp(value, "socks4://", 9) == 0	 ? NET_PROXY_SOCKS4
				   : strncmp(value, "socks5://", 9) == 0 ? NET_PROXY_SOCKS5
									 : NET_PROXY_NONE;

	if (kind == NET_PROXY_NONE || ip_port_parse(value + 9, &p->addr) < 0 || !p->addr.port)
		return err_msg(
			err, EDOM, "'%s' is not socks4://IP:PORT or socks5://IP:PORT", value);
	p->kind = kind;
	return 0;
}

static int set_credential(const char **dst, const char *value, struct err *err)
{
	if (!*value || strlen(value) > CREDENTIAL_MAX)
		return err_msg(err, EDOM, "expected 1 to %d bytes", CREDENTIAL_MAX);
	*dst = value;
	return 0;
}

static int set_socks4_user(void *target, const char *value, struct err *err)
{
	return set_credential(&((struct net_args *)target)->socks4_user, value, err);
}

static int set_socks5_user(void *target, const char *value, struct err *err)
{
	return set_credential(&((struct net_args *)target)->socks5_user, value, err);
}

static int set_socks5_password(void *target, const char *value, struct err *err)
{
	return set_credential(&((struct net_args *)target)->socks5_password_env, value, err);
}

const struct option_row net_options[] = {
	{ 'p', "port", "[BIND:]HOST:GUEST[/tcp|/udp]",
		"publish a port of the guest on the host (default bind 127.0.0.1); repeatable",
		set_port },
	{ 0, "net", "PROFILES", "reach: public (default), private, host; or all, or none",
		set_profile },
	{ 0, "no-net", NULL, "deny everything that no rule allows", set_no_net },
	{ 0, "net-rule", "RULES",
		"ACTION[:DIRECTION]@TARGET[:PROTOCOL[:PORTS]], comma-separated; repeatable",
		set_rule },
	{ 0, "net-default", "ACTION", "allow or deny what no rule decides", set_default },
	{ 0, "net-default-egress", "ACTION", "the same for what the guest begins",
		set_default_egress },
	{ 0, "net-default-ingress", "ACTION", "the same for what comes in by published ports",
		set_default_ingress },
	{ 0, "net-strict", NULL, "allow by host name only where the request proves the name",
		set_strict },
	{ 0, "deployment-profile", "PROFILE",
		"single-tenant (default); multi-tenant: only what a shared host lets guests do",
		set_deployment },
	{ 0, "net-conf", "FILE", "take the network's settings from a YAML file; repeatable",
		set_file },
	{ 0, "net-show", NULL, "print the network's settings as JSON and do nothing else",
		set_show },
	{ 0, "dns-nameserver", "HOST[:PORT]", "ask this one, not the host's; repeatable",
		set_nameserver },
	{ 0, "dns-query-timeout-ms", "MS", "how long to wait for it (default 5000)", set_timeout },
	{ 0, "no-dns-rebind-protection", NULL, "let public names resolve to private addresses",
		set_no_rebind },
	{ 0, "trust-host-cas", NULL, "make the guest trust the host's certificates", set_host_cas },
	{ 0, "net-ipv4-pool", "CIDR", "where the guest's addresses come from (172.16.0.0/12)",
		set_pool4 },
	{ 0, "net-ipv6-pool", "CIDR",
		"the same (fd42:6d73:62::/48); IPv6 even where the host has no route", set_pool6 },
	{ 0, "max-tcp-connections", "N", "at a time; 0: no limit (default)", set_max_tcp },
	{ 0, "max-udp-connections", "N", "the same for UDP", set_max_udp },
	{ 0, "max-connections", "N", "old name of --max-tcp-connections", set_max_tcp },
	{ 0, "net-egress-bandwidth", "SIZE[/TIME]", "bytes the guest may send per second, or TIME",
		set_egress_bytes },
	{ 0, "net-egress-bandwidth-burst", "SIZE", "once, on top of that", set_egress_bytes_burst },
	{ 0, "net-egress-ops", "N[/TIME]", "the same for packets", set_egress_ops },
	{ 0, "net-egress-ops-burst", "N", "once, on top of that", set_egress_ops_burst },
	{ 0, "net-ingress-bandwidth", "SIZE[/TIME]", "bytes the guest may receive",
		set_ingress_bytes },
	{ 0, "net-ingress-bandwidth-burst", "SIZE", "once, on top of that",
		set_ingress_bytes_burst },
	{ 0, "net-ingress-ops", "N[/TIME]", "the same for packets", set_ingress_ops },
	{ 0, "net-ingress-ops-burst", "N", "once, on top of that", set_ingress_ops_burst },
	{ 0, "proxy", "URL", "reach the world by socks4://IP:PORT or socks5://IP:PORT", set_proxy },
	{ 0, "socks4-user-id", "ID", "what to tell a SOCKS4 proxy", set_socks4_user },
	{ 0, "socks5-username", "NAME", "who we are to a SOCKS5 proxy", set_socks5_user },
	{ 0, "socks5-password-env", "VARIABLE", "environment variable with the password",
		set_socks5_password },
	{ 0 },
};

/* ---- all of them together ---- */

static int keep_string(char **dst, const char *s, struct err *err)
{
	*dst = strdup(s);
	return *dst ? 0 : err_set(err, ENOMEM, "keep an option");
}

static int check_proxy(const struct net_args *a, struct err *err)
{
	enum net_proxy_kind kind = a->config.proxy.kind;
	bool socks5 = a->socks5_user || a->socks5_password_env;

	if (kind == NET_PROXY_NONE && (a->socks4_user || socks5))
		return err_msg(err, EINVAL, "--socks4-* and --socks5-* need --proxy");
	if (!a->socks5_user != !a->socks5_password_env)
		return err_msg(
			err, EINVAL, "--socks5-username and --socks5-password-env need each other");
	if (kind == NET_PROXY_SOCKS4 && socks5)
		return err_msg(err, EINVAL, "--socks5-username does not go with a socks4:// proxy");
	if (kind == NET_PROXY_SOCKS5 && a->socks4_user)
		return err_msg(err, EINVAL, "--socks4-user-id does not go with a socks5:// proxy");
	return 0;
}

static int take_credentials(struct net_args *a, struct err *err)
{
	const char *user = a->socks4_user ? a->socks4_user : a->socks5_user, *password;
	struct net_proxy *p = &a->config.proxy;
	int rc = check_proxy(a, err);

	if (rc < 0 || !user)
		return rc;
	rc = keep_string(&p->user, user, err);
	if (rc < 0 || !a->socks5_password_env)
		return rc;
	password = getenv(a->socks5_password_env);
	if (!password || !*password)
		return err_msg(err, EDOM, "--socks5-password-env: environment variable '%.*s' %s",
			PASSWORD_ENV_MAX, a->socks5_password_env,
			password ? "is empty" : "not set");
	if (strlen(password) > CREDENTIAL_MAX)
		return err_msg(err, EDOM, "--socks5-password-env: a password of more than %d bytes",
			CREDENTIAL_MAX);
	return keep_string(&p->password, password, err);
}

static int take_file(struct net_args *a, struct err *err)
{
	struct net_file_values v;
	struct net_config *c = &a->config;
	int rc = 0;

	net_file_values(&a->file, &v);
	for (size_t i = 0; i < v.n_ports && rc == 0; i++)
		rc = add_port(c, net_file_item(v.ports, i), err);
	for (size_t i = 0; i < v.n_nameservers && rc == 0; i++)
		rc = net_config_add_nameserver(c, net_file_item(v.nameservers, i), err);
	if (!a->timeout_given && v.dns_timeout_ms)
		c->dns_timeout_ms = v.dns_timeout_ms;
	c->rebind_protection &= v.rebind_protection;
	c->strict |= v.strict;
	c->trust_host_cas |= v.trust_host_cas;
	if (c->max_tcp == NET_UNSET)
		c->max_tcp = v.max_tcp;
	if (c->max_udp == NET_UNSET)
		c->max_udp = v.max_udp;
	return rc < 0 ? as_bad_value(err_wrap(err, "--net-conf")) : 0;
}

/* The base of the policy when no flag names one. An allow list stands for all that is allowed. */
static void base_from_file(const struct net_file *f, const char **profile, struct policy_args *p)
{
	const char *preset = net_file_preset(f);

	if (p->n_profiles || p->no_net || p->default_both || p->default_egress ||
		p->default_ingress)
		return;
	if (net_file_has_allow(f)) {
		p->default_egress = "deny";
		p->default_ingress = strcmp(preset, "none") != 0 ? "allow" : "deny";
		return;
	}
	*profile = strcmp(preset, "open") == 0 ? "all" : preset;
	p->profiles = profile;
	p->n_profiles = 1;
}

static int make_policy(struct net_args *a, struct err *err)
{
	struct policy_args p = {
		.profiles = a->profiles.v,
		.n_profiles = a->profiles.n,
		.no_net = a->no_net,
		.default_both = a->default_both,
		.default_egress = a->default_egress,
		.default_ingress = a->default_ingress,
	}, profiles = { .profiles = a->profiles.v, .n_profiles = a->profiles.n };
	cleanup_policy struct policy ignored = { 0 };
	const char *profile;
	int rc = policy_from_args(&ignored, &profiles, err);

	if (rc < 0)
		return as_bad_value(rc);
	for (size_t i = 0; i < a->file.n_rules && rc == 0; i++)
		rc = add_word(&a->rules, a->file.rules[i], err);
	if (rc < 0)
		return rc;
	p.rules = a->rules.v;
	p.n_rules = a->rules.n;
	if (a->file.root)
		base_from_file(&a->file, &profile, &p);
	policy_release(&a->config.policy);
	return policy_from_args(&a->config.policy, &p, err);
}

static int apply_deployment(struct net_args *a, struct err *err)
{
	int rc = a->multi_tenant ? net_config_make_multi_tenant(&a->config, err) : 0;

	if (rc < 0)
		return rc;
	a->dropped = (unsigned)rc;
	if (a->dropped & NET_DROPPED_INTERFACE)
		a->want_v6 = false;
	return 0;
}

int net_args_finish(struct net_args *a, struct err *err)
{
	int rc = net_file_make_rules(&a->file, err);

	if (rc == 0)
		rc = make_policy(a, err);
	if (rc == 0 && a->file.root)
		rc = take_file(a, err);
	if (rc == 0)
		rc = take_credentials(a, err);
	if (rc == 0)
		rc = apply_deployment(a, err);
	return rc < 0 ? rc : as_bad_value(net_config_check(&a->config, err));
}

int net_args_init(struct net_args *a, struct err *err)
{
	*a = (struct net_args){ 0 };
	return net_config_init(&a->config, err);
}

void net_args_release(struct net_args *a)
{
	net_config_release(&a->config);
	net_file_release(&a->file);
	free(a->profiles.v);
	free(a->rules.v);
	*a = (struct net_args){ 0 };
}
