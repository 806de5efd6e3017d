/* SPDX-License-Identifier: Apache-2.0 */
/* What the network flags come to on this host: for the machine, and for its guest. */
#ifndef CLI_NET_SETUP_H
#define CLI_NET_SETUP_H

#include "cli/net_args.h"
#include "protocol/protocol.h"
#include "vmm/vmm.h"

#define NET_HOST_ALIAS "host.microsandbox.internal"

/*
 * struct net_setup - zero-initialised: no network
 * @vm:       for struct vm_config; its configuration is that of the arguments
 * @host_cas: owned; NULL: the guest is to trust whom it likes
 */
struct net_setup {
	struct vm_net vm;
	char *host_cas;
};

/*
 * net_setup_make() - addresses, those of nameservers given by name, and the host's certificates if
 * they are asked for; may block for NET_RESOLVE_TIMEOUT_MS per name
 * @a: finished; must outlive @ret; names of nameservers become addresses
 * IPv4 is always on: the host alias and published ports need no route. IPv6 is on if the host has a
 * route for it, or if its pool was named: an address without a way out delays programs that try it
 * first.
 * Return: 0 and *ret, ended by net_setup_release(); -ERANGE, -errno
 */
int net_setup_make(struct net_args *a, struct net_setup *ret, struct err *err);

/* net_setup_tell() - fill in what the guest must know; texts and bytes are borrowed from @n. */
void net_setup_tell(const struct net_setup *n, struct bootstrap *boot);

void net_setup_release(struct net_setup *n);

#endif
