/* SPDX-License-Identifier: Apache-2.0 */
/* The room's public header: everything that is kept on the host's disk. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "store/cache.h"
#include "store/catalogue.h"
#include "store/home.h"
#include "store/lock.h"

#endif
