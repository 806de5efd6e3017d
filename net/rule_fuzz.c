/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as --net-rule; what is accepted must format and parse again to the same rules. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "net/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_free char *text = strndup((const char *)data, len);
	cleanup_policy struct policy p = { 0 };
	struct err err = ERR_INIT;

	if (!text || policy_parse_rules(&p, text, &err) < 0)
		return 0;
	for (size_t i = 0; i < p.n_rules; i++) {
		cleanup_policy struct policy again = { 0 };
		char a[400], b[400];

		policy_rule_format(&p.rules[i], a, sizeof(a));
		if (strchr(a, '+')) /* "dns" stands for two protocols, which no token can name */
			continue;
		if (policy_parse_rules(&again, a, NULL) < 0 || again.n_rules != 1)
			abort();
		if (strcmp(a, policy_rule_format(&again.rules[0], b, sizeof(b))) != 0)
			abort();
	}
	return 0;
}
