/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network flags of commands that make a sandbox. Everything is checked here, before any other
 * work: what is left to fail later is the host (a published port that is taken).
 *
 * Precedence: defaults, then --net-conf files from left to right, then flags.
 */
#ifndef CLI_NET_ARGS_H
#define CLI_NET_ARGS_H

#include "cli/net_file.h"
#include "cli/options.h"
#include "net/config.h"

/* struct words - borrowed words, in order */
struct words {
	const char **v;
	size_t n;
};

/*
 * struct net_args
 * @config:  what the sandbox gets; complete after net_args_finish()
 * @want_v6: IPv6 is asked for, whether the host has a route for it or not
 * @show:    only print the configuration
 * @dropped: NET_DROPPED_*: what the deployment profile took away
 * The rest is for net_args.c.
 */
struct net_args {
	struct net_config config;
	bool want_v6, show;
	unsigned dropped;

	struct words profiles, rules;
	bool no_net, timeout_given, multi_tenant;
	const char *default_both, *default_egress, *default_ingress;
	struct net_file file;
	const char *socks4_user, *socks5_user, *socks5_password_env;
};

extern const struct option_row net_options[];

/* net_args_init() - Return: 0; -ENOMEM. Release in any case. */
int net_args_init(struct net_args *a, struct err *err);

/*
 * net_args_finish() - what only the flags together tell, after the last one
 * Return: 0; -EINVAL flags that exclude or need each other; another -errno for a bad value
 */
int net_args_finish(struct net_args *a, struct err *err);
void net_args_release(struct net_args *a);

#endif
