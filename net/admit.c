/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the policy, and telling the owner about refusals without letting a guest flood the log. */
#include <stdio.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/num.h"
#include "net/net_internal.h"

#define DENIALS_PER_WINDOW 20
#define DENY_WINDOW_NS	   NS_PER_S

struct policy_env net_policy_env(const struct net *net)
{
	struct policy_env env = { .names = net->names, .now_ns = clock_mono_ns() };

	if (net->plan.v4)
		env.gateway4 = net->plan.gateway4;
	if (net->plan.v6)
		env.gateway6 = net->plan.gateway6;
	return env;
}

bool net_is_gateway(const struct net *net, const struct ip_addr *a)
{
	return (net->plan.v4 && ip_equal(a, &net->plan.gateway4)) ||
	       (net->plan.v6 && ip_equal(a, &net->plan.gateway6));
}

struct ip_addr net_host_target(const struct net *net, const struct ip_addr *dst)
{
	struct ip_addr loop6 = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 } };

	if (!net_is_gateway(net, dst))
		return *dst;
	return ip_is_v4(dst) ? IP_V4(127, 0, 0, 1) : loop6;
}

/* Is another report due in this window? */
static bool may_report(struct net *net)
{
	uint64_t now = clock_mono_ns();

	if (now - net->deny_window_ns >= DENY_WINDOW_NS) {
		net->deny_window_ns = now;
		net->deny_in_window = 0;
	}
	if (net->deny_in_window >= DENIALS_PER_WINDOW) {
		net->deny_unreported++;
		return false;
	}
	net->deny_in_window++;
	return true;
}

void net_denied(struct net *net, struct net_denial *d)
{
	char text[NAME_BUF + 64] = "default";

	if (d->rule == POLICY_BY_PLATFORM)
		(void)snprintf(text, sizeof(text), "of the platform");
	net->stats.denied[d->reason]++;
	if (!net->events.denied || !may_report(net))
		return;
	if (d->rule >= 0 && (size_t)d->rule < net->config.policy.n_rules)
		policy_rule_format(&net->config.policy.rules[d->rule], text, sizeof(text));
	d->rule_text = text;
	d->unreported = net->deny_unreported;
	net->deny_unreported = 0;
	net->events.denied(net->events.ctx, d);
}

struct policy_answer net_admit(struct net *net, uint8_t dir, uint8_t proto,
	const struct ip_addr *addr, bool has_port, uint16_t port, enum policy_name source,
	const char *name)
{
	struct policy_env env = net_policy_env(net);
	struct policy_flow flow = { .dir = dir,
		.proto = proto,
		.addr = *addr,
		.has_port = has_port,
		.port = port,
		.name_source = source,
		.sni = name };
	struct policy_answer a = policy_eval(&net->config.policy, &env, &flow);

	if (a.verdict == POLICY_DENY)
		net_denied(net, &(struct net_denial){ .reason = NET_DENY_POLICY,
					.ingress = dir == POLICY_INGRESS,
					.proto = proto,
					.addr = *addr,
					.port = port,
					.name = name,
					.rule = a.rule });
	return a;
}
