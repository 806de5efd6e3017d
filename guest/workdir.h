/* SPDX-License-Identifier: Apache-2.0 */
/* The folder that a command starts in. */
#ifndef GUEST_WORKDIR_H
#define GUEST_WORKDIR_H

/*
 * workdir_make() - make the folder @path and those above it, as far as they are missing
 * They are this process's, with mode 0755. Symbolic links on the way are followed, also where what
 * they lead to is still to be made. Only system calls and the stack: for use after fork().
 * Return: 0; -ENOTDIR a file is in the way; -EROFS; -ELOOP; -ENAMETOOLONG; -errno
 */
int workdir_make(const char *path);

#endif
