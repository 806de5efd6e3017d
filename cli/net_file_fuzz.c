/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as --net-conf; what is accepted yields rules that parse. */
#include <stdint.h>
#include <stdlib.h>

#include "cli/net_file.h"
#include "net/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct net_file f = { 0 };
	struct err err = ERR_INIT;

	if (net_file_parse(&f, "fuzz", (const char *)data, len, &err) == 0) {
		cleanup_policy struct policy p = { 0 };
		struct net_file_values v;

		if (net_file_make_rules(&f, &err) < 0)
			abort();
		for (size_t i = 0; i < f.n_rules && i < POLICY_RULES_MAX; i++) {
			if (policy_parse_rules(&p, f.rules[i], &err) < 0)
				abort();
		}
		net_file_values(&f, &v);
	}
	net_file_release(&f);
	return 0;
}
