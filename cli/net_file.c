/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/net_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/conf_fields.h"
#include "cli/yaml_file.h"
#include "lib/cleanup.h"
#include "lib/json.h"
#include "lib/num.h"
#include "net/config.h"

#define TIMEOUT_MAX_MS 3600000

/* ---- what may stand in it ---- */

static int check_count(const struct conf_field *f, const json_t *v, struct err *err)
{
	if (json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) <= UINT32_MAX)
		return 0;
	return conf_bad(f, "a number of connections", err);
}

static bool is_preset(const char *word)
{
	return word && (!strcmp(word, "none") || !strcmp(word, "public") || !strcmp(word, "open"));
}

static int check_preset(const struct conf_field *f, const json_t *v, struct err *err)
{
	return is_preset(json_string_value(v)) ? 0 : conf_bad(f, "none, public or open", err);
}

/* "500ms", "5s", "2m", "1h", "5" (seconds) */
static int parse_duration_ms(const char *s, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t ms;
	} units[] = { { "", 1000 }, { "s", 1000 }, { "ms", 1 }, { "m", 60000 }, { "h", 3600000 } };
	size_t n = strspn(s, "0123456789");
	char digits[16];
	uint64_t v;

	if (n == 0 || n >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, s, n);
	digits[n] = '\0';
	if (num_parse_u64(digits, "duration", 1, TIMEOUT_MAX_MS, &v, NULL) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(s + n, units[i].unit) == 0) {
			*ret = v * units[i].ms;
			return *ret <= TIMEOUT_MAX_MS ? 0 : -EINVAL;
		}
	}
	return -EINVAL;
}

static int check_duration(const struct conf_field *f, const json_t *v, struct err *err)
{
	const char *s = json_string_value(v);
	uint64_t ms;

	return s && parse_duration_ms(s, &ms) == 0 ? 0
						   : conf_bad(f, "a duration such as \"5s\"", err);
}

/* A target: what follows '@' in a rule. */
static int check_target(const char *text, struct err *err)
{
	cleanup_policy struct policy ignored = { 0 };
	cleanup_free char *rule = NULL;

	if (!*text || strchr(text, ','))
		return err_msg(err, EINVAL, "'%.60s' is not one target", text);
	if (asprintf(&rule, "allow@%s", text) < 0)
		return err_set(err, ENOMEM, "read a rule");
	return policy_parse_rules(&ignored, rule, err);
}

static int check_port(const char *text, struct err *err)
{
	struct net_publish p;

	return net_publish_parse(text, &p, err);
}

static int check_nameserver(const char *text, struct err *err)
{
	cleanup_net_config struct net_config c = { 0 };

	return net_config_add_nameserver(&c, text, err);
}

/* Interception is not there yet, and must not look as if it were. */
static int check_tls(const struct conf_field *f, const json_t *v, struct err *err)
{
	int rc = conf_check_map(f, v, err);

	if (rc == 0 && json_is_true(json_object_get(v, "enabled")))
		return err_msg(err, ENOTSUP, "'tls': TLS interception is not supported");
	return rc;
}

static const struct conf_field dns_fields[] = {
	{ "rebind_protection", conf_check_bool },
	{ "nameservers", conf_check_list, .check_item = check_nameserver },
	{ "query_timeout", check_duration },
	{ 0 },
};

static const struct conf_field tls_fields[] = {
	{ "enabled", conf_check_bool },
	{ "bypass", conf_check_list },
	{ "verify_upstream", conf_check_bool },
	{ "block_quic", conf_check_bool },
	{ 0 },
};

static const struct conf_field root_fields[] = {
	{ "policy", check_preset },
	{ "allow", conf_check_list, .check_item = check_target },
	{ "deny", conf_check_list, .check_item = check_target },
	{ "ports", conf_check_list, .check_item = check_port },
	{ "dns", conf_check_map, .fields = dns_fields },
	{ "tls", check_tls, .fields = tls_fields },
	{ "trust_host_cas", conf_check_bool },
	{ "strict", conf_check_bool },
	{ "max_connections", check_count },
	{ "max_tcp_connections", check_count },
	{ "max_udp_connections", check_count },
	{ 0 },
};

/* ---- reading ---- */

static int merge(struct net_file *f, json_t *root, struct err *err)
{
	static const struct conf_field top = { "network", conf_check_map, .fields = root_fields };
	cleanup_json json_t *map = NULL;
	int rc;

	if (is_preset(json_string_value(root)))
		map = json_pack("{sO}", "policy", root);
	else
		map = json_incref(root);
	rc = conf_check_map(&top, map, err);
	if (rc < 0)
		return rc;
	if (!f->root)
		f->root = json_object();
	if (!f->root || json_object_update_recursive(f->root, map) < 0)
		return err_set(err, ENOMEM, "keep the network's settings");
	return 0;
}

int net_file_parse(
	struct net_file *f, const char *name, const char *text, size_t len, struct err *err)
{
	cleanup_json json_t *root = NULL;
	int rc = yaml_parse(name, text, len, &root, err);

	if (rc < 0)
		return rc;
	rc = merge(f, root, err);
	return rc < 0 ? err_wrap(err, "%s", name) : 0;
}

int net_file_load(struct net_file *f, const char *path, struct err *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	int rc = yaml_read(path, &text, &len, err);

	return rc < 0 ? rc : net_file_parse(f, path, text, len, err);
}

/* ---- using ---- */

static int add_rules(struct net_file *f, const char *list, const char *action, struct err *err)
{
	const json_t *arr = json_object_get(f->root, list);
	size_t i;
	json_t *v;

	json_array_foreach((json_t *)arr, i, v)
	{
		char **rules = reallocarray(f->rules, f->n_rules + 1, sizeof(*rules));

		if (!rules)
			return err_set(err, ENOMEM, "keep the network's rules");
		f->rules = rules;
		if (asprintf(&rules[f->n_rules], "%s@%s", action, json_string_value(v)) < 0)
			return err_set(err, ENOMEM, "keep the network's rules");
		f->n_rules++;
	}
	return 0;
}

int net_file_make_rules(struct net_file *f, struct err *err)
{
	int rc = add_rules(f, "deny", "deny", err);

	return rc < 0 ? rc : add_rules(f, "allow", "allow", err);
}

static int64_t count_of(const struct net_file *f, const char *key, int64_t otherwise)
{
	const json_t *v = json_object_get(f->root, key);

	return v ? json_integer_value(v) : otherwise;
}

void net_file_values(const struct net_file *f, struct net_file_values *ret)
{
	const json_t *dns = json_object_get(f->root, "dns");
	const char *timeout = json_string_value(json_object_get(dns, "query_timeout"));
	int64_t old_name = count_of(f, "max_connections", NET_UNSET);

	*ret = (struct net_file_values){
		.ports = json_object_get(f->root, "ports"),
		.nameservers = json_object_get(dns, "nameservers"),
		.rebind_protection = !json_is_false(json_object_get(dns, "rebind_protection")),
		.strict = json_is_true(json_object_get(f->root, "strict")),
		.trust_host_cas = json_is_true(json_object_get(f->root, "trust_host_cas")),
		.max_tcp = count_of(f, "max_tcp_connections", old_name),
		.max_udp = count_of(f, "max_udp_connections", NET_UNSET),
	};
	ret->n_ports = json_array_size(ret->ports);
	ret->n_nameservers = json_array_size(ret->nameservers);
	if (timeout)
		(void)parse_duration_ms(timeout, &ret->dns_timeout_ms);
}

const char *net_file_item(const json_t *list, size_t i)
{
	return json_string_value(json_array_get(list, i));
}

const char *net_file_preset(const struct net_file *f)
{
	const char *word = json_string_value(json_object_get(f->root, "policy"));

	return word ? word : "public";
}

bool net_file_has_allow(const struct net_file *f)
{
	return json_array_size(json_object_get(f->root, "allow")) > 0;
}

void net_file_release(struct net_file *f)
{
	json_decref(f->root);
	for (size_t i = 0; i < f->n_rules; i++)
		free(f->rules[i]);
	free(f->rules);
	*f = (struct net_file){ 0 };
}
