/* SPDX-License-Identifier: Apache-2.0 */
/* The guest's interface, set up from the bootstrap alone: no DHCP, no router advertisements, no
 * waiting (agent-protocol 6.8). */
#ifndef GUEST_NETCFG_H
#define GUEST_NETCFG_H

#include "lib/err.h"
#include "protocol/protocol.h"

/* netcfg_check() - network, host alias and host CAs of a bootstrap. Return: 0; -EINVAL. */
int netcfg_check(const struct bootstrap *boot, struct err *err);

/*
 * netcfg_apply() - MAC, MTU, link, addresses and default routes of @net's interface
 * @net: checked; without an interface nothing is done
 * Its IPv6 address is usable at once: nobody else is on that link, so there is nothing to detect.
 * Return: 0; -ENODEV no such interface; -errno
 */
int netcfg_apply(const struct boot_network *net, struct err *err);

#endif
