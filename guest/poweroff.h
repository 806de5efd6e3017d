/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_POWEROFF_H
#define GUEST_POWEROFF_H

/*
 * poweroff_now() - end the machine: kill what runs, write back, detach file systems, reset
 * @upper_fd: O_PATH on a file system without a path that is to be detached as well, -1: none
 * Takes at most about a second, whatever hangs; longer only with disks to write back to. A reset,
 * not a power-off: machines without ACPI can only do that, and both engines end the machine on it.
 */
_Noreturn void poweroff_now(int upper_fd);

#endif
