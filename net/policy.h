/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network policy: an ordered list of rules and a default per direction. Rules are data; evaluating
 * them is a pure function of the rules, the flow, the gateway's addresses and the name index.
 *
 * A rule applies to a flow if its direction, protocols, ports and destination all match; the first
 * that applies decides. Egress: destination is where the guest wants to go and the port is the
 * destination's. Ingress: destination is the peer outside, the port is the guest's.
 *
 * Domain rules. A connection names an address, not a host, so a domain rule is matched through the
 * name index, and where the client says a name (TLS SNI) by that name too:
 *   POLICY_NAME_CACHE  only the index: the address is bound to the name
 *   POLICY_NAME_SNI    the client's name equals the rule's; an allow rule also wants the index to
 *                      bind the address to it, so that a name cannot be borrowed for another host
 *   POLICY_NAME_DEFER  nothing said yet (a SYN): may answer POLICY_DEFER, "ask again with a name"
 */
#ifndef NET_POLICY_H
#define NET_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "net/addr.h"
#include "net/name.h"
#include "net/name_index.h"

enum policy_verdict { POLICY_DENY, POLICY_ALLOW, POLICY_DEFER };

/* Directions a rule covers: bits. */
#define POLICY_EGRESS  1
#define POLICY_INGRESS 2

/* Protocols: bits; 0 in a rule means all. */
#define POLICY_TCP   1
#define POLICY_UDP   2
#define POLICY_ICMP4 4
#define POLICY_ICMP6 8

enum policy_group {
	POLICY_GROUP_PUBLIC,
	POLICY_GROUP_LOOPBACK,
	POLICY_GROUP_PRIVATE,
	POLICY_GROUP_LINK_LOCAL,
	POLICY_GROUP_METADATA,
	POLICY_GROUP_MULTICAST,
	POLICY_GROUP_HOST, /* the sandbox's own gateway */
	POLICY_GROUPS,
};

enum policy_dest { POLICY_ANY, POLICY_CIDR, POLICY_GROUP, POLICY_DOMAIN, POLICY_SUFFIX };

struct policy_ports {
	uint16_t first, last;
};

/*
 * struct policy_rule
 * @name:  canonical; owned; DOMAIN and SUFFIX only
 * @ports: owned; n_ports == 0 means all ports, and flows without ports
 */
struct policy_rule {
	bool allow;
	uint8_t dirs, protos;
	enum policy_dest dest;
	union {
		struct ip_cidr cidr;
		enum policy_group group;
		char *name;
	};
	struct policy_ports *ports;
	size_t n_ports;
};

/*
 * struct policy - zero-initialised denies everything
 * @platform: owned, NULL: none; a policy of whoever runs the host, which must allow as well what
 *            the guest begins. It has no platform of its own
 */
struct policy {
	bool allow_egress, allow_ingress; /* when no rule applies */
	struct policy_rule *rules;	  /* owned */
	size_t n_rules;
	struct policy *platform;
};

#define POLICY_RULES_MAX 4096

void policy_release(struct policy *p);
void policy_rule_release(struct policy_rule *r);
#define cleanup_policy __attribute__((cleanup(policy_release)))

/*
 * policy_add() - append *rule, taking its contents over (also on failure)
 * Return: 0; -ENOMEM; -E2BIG beyond POLICY_RULES_MAX
 */
int policy_add(struct policy *p, struct policy_rule *rule, struct err *err);

/* policy_copy() - @dst is overwritten; release it even on failure. Return: 0; -ENOMEM. */
int policy_copy(struct policy *dst, const struct policy *src, struct err *err);

/*
 * policy_set_platform() - have the public profile allow everything for egress as well
 * Return: 0; -ENOMEM (@p is unchanged)
 */
int policy_set_platform(struct policy *p, struct err *err);

/* --- text --- */

/*
 * policy_parse_rules() - append the rules of one --net-rule value
 * @text: "allow@public:tcp:443,deny:any@10.0.0.0/8": tokens separated by commas, grammar in
 *        docs of `msb run --net-rule`; empty tokens are skipped
 * Return: 0; -EINVAL with the token and what is wrong with it (nothing is appended); -ENOMEM
 */
int policy_parse_rules(struct policy *p, const char *text, struct err *err);

/* policy_rule_format() - a rule in the token grammar, cut to @len bytes. Return: @dst. */
char *policy_rule_format(const struct policy_rule *r, char *dst, size_t len);

/* struct policy_args - the command line's policy flags; strings borrowed */
struct policy_args {
	const char *const *profiles; /* --net: comma lists of public private host all none */
	size_t n_profiles;
	const char *const *rules; /* --net-rule */
	size_t n_rules;
	bool no_net;
	const char *default_both, *default_egress, *default_ingress; /* "allow", "deny" or NULL */
};

/*
 * policy_from_args() - the policy that flags ask for; without any: the public profile
 * Rules keep their order and come before those of profiles. Rules without --net replace the
 * profile (egress deny, ingress allow).
 * Return: 0; -EINVAL naming the flag and the reason
 */
int policy_from_args(struct policy *ret, const struct policy_args *args, struct err *err);

/* policy_set_public() - the default: DNS at the gateway and public addresses; ingress allowed. */
int policy_set_public(struct policy *ret, struct err *err);

/* --- evaluation --- */

/* struct policy_env - what rules are matched against; all borrowed, @names may be NULL */
struct policy_env {
	struct ip_addr gateway4, gateway6; /* all zero: family inactive */
	const struct name_index *names;
	uint64_t now_ns;
};

enum policy_name { POLICY_NAME_CACHE, POLICY_NAME_SNI, POLICY_NAME_DEFER };

struct policy_flow {
	uint8_t dir;   /* POLICY_EGRESS or POLICY_INGRESS */
	uint8_t proto; /* one POLICY_* protocol */
	struct ip_addr addr;
	bool has_port;
	uint16_t port;
	enum policy_name name_source;
	const char *sni; /* canonical; POLICY_NAME_SNI only */
};

#define POLICY_BY_DEFAULT  (-1)
#define POLICY_BY_PLATFORM (-2) /* the policy's own rules would not deny it */

/* struct policy_answer - @rule: index of the deciding rule, or POLICY_BY_* */
struct policy_answer {
	enum policy_verdict verdict;
	int rule;
};

/* policy_eval() - the answer of the policy and of its platform: the stricter one */
struct policy_answer policy_eval(
	const struct policy *p, const struct policy_env *env, const struct policy_flow *flow);

/*
 * policy_eval_query() - may the guest ask for @name over (@proto, @port)?
 * @name: canonical, or NULL for one that is no host name
 */
struct policy_answer policy_eval_query(
	const struct policy *p, uint8_t proto, uint16_t port, const char *name);

/*
 * policy_lifts_rebind() - does an address rule without ports allow @addr, so that a DNS answer
 * may name it although it is reserved?
 */
bool policy_lifts_rebind(
	const struct policy *p, const struct policy_env *env, const struct ip_addr *addr);

/* policy_in_group() - membership, as evaluation sees it. */
bool policy_in_group(
	const struct policy_env *env, enum policy_group group, const struct ip_addr *addr);

/* Words of the JSON form and of the rule grammar, indexed by enum policy_group. */
extern const char *const policy_group_json[POLICY_GROUPS];
extern const char *const policy_group_word[POLICY_GROUPS];

#endif
