/* SPDX-License-Identifier: Apache-2.0 */
/* --net-conf: the network map of a sandbox configuration file (cli.md 3.3), or one of its words. */
#ifndef CLI_NET_FILE_H
#define CLI_NET_FILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/*
 * struct net_file - one or several files; zero-initialised is none
 * @root:  the maps, merged: scalars and lists replace, maps merge; NULL: no file
 * @rules: owned; from the deny and allow lists, in the words of --net-rule
 */
struct net_file {
	json_t *root;
	char **rules;
	size_t n_rules;
};

/* struct net_file_values - everything but the policy; the lists are borrowed from the file */
struct net_file_values {
	const json_t *ports, *nameservers;
	size_t n_ports, n_nameservers;
	uint64_t dns_timeout_ms; /* 0: not given */
	bool rebind_protection, strict, trust_host_cas;
	int64_t max_tcp, max_udp; /* NET_UNSET: not given */
};

/*
 * net_file_load() - read a file, check every word of it, and merge it into @f
 * Return: 0; -EINVAL naming file, place and reason; -ENOTSUP TLS interception; -errno
 */
int net_file_load(struct net_file *f, const char *path, struct err *err);

/* net_file_parse() - as net_file_load(), from memory; @name stands for the file in messages. */
int net_file_parse(
	struct net_file *f, const char *name, const char *text, size_t len, struct err *err);

/* net_file_make_rules() - fill f->rules, after the last file. Return: 0; -ENOMEM. */
int net_file_make_rules(struct net_file *f, struct err *err);

void net_file_values(const struct net_file *f, struct net_file_values *ret);
const char *net_file_item(const json_t *list, size_t i);

/* net_file_preset() - "none", "public" or "open". */
const char *net_file_preset(const struct net_file *f);
bool net_file_has_allow(const struct net_file *f);
void net_file_release(struct net_file *f);

#endif
