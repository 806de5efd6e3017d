/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for deleting. SQLite writes a log and an index of it before it can forget a row, locks and
 * marks are files too: on a file system without one free block, or without one free inode, nothing
 * could be deleted any more. So the home folder keeps a little of both for itself, in files that
 * whoever gives space back deletes first, and that are made again afterwards.
 *
 *	HOME/db/.reserve/<0 to 7>	each RESERVE_FILE bytes, all allocated
 *
 * They lie beside the catalogue, since that is what needs the room. There is no lock: to make and
 * to delete them can be done twice, and by many at once, and a process that is killed in between
 * only leaves fewer of them.
 */
#ifndef STORE_RESERVE_H
#define STORE_RESERVE_H

#include <stdbool.h>

#include "lib/num.h"
#include "store/home.h"

#define RESERVE_FILES 8
#define RESERVE_FILE  KIB(128)
/* It is first made only where it is not missed. */
#define RESERVE_AMPLE (RESERVE_FILES * RESERVE_FILE * 16)

/* reserve_give() - delete it: its blocks and inodes are everybody's until reserve_keep() */
void reserve_give(const struct home *home);

/*
 * reserve_keep() - make what is missing of it, as far as there is room; a few system calls if
 * nothing is
 * @ample: only where at least RESERVE_AMPLE bytes are free: for who has not just given it
 */
void reserve_keep(const struct home *home, bool ample);

#endif
