/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a launcher's network object; what is accepted must survive being written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "net/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	cleanup_net_config struct net_config c, again;
	cleanup_free char *json = NULL;
	struct err err = ERR_INIT;

	memset(&again, 0, sizeof(again));
	if (net_config_from_json(&c, (const char *)data, len, &err) < 0)
		return 0;
	json = net_config_to_json(&c);
	if (!json || net_config_from_json(&again, json, strlen(json), &err) < 0)
		abort();
	return 0;
}
