/* SPDX-License-Identifier: Apache-2.0 */
/* Owning locals of jansson's values; see lib/cleanup.h. For rooms that link jansson, lib itself
 * does not. */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <jansson.h>

#include "lib/cleanup.h"

static inline void cleanup_json_fn(json_t **j)
{
	json_decref(*j);
}

#define cleanup_json cleanup_(cleanup_json_fn)

#endif
