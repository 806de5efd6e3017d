/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_POWEROFF_H
#define GUEST_POWEROFF_H

/*
 * poweroff_now() - end the machine: kill what runs, write back, detach file systems, reset
 * Takes at most about a second, whatever hangs. A reset, not a power-off: machines without ACPI can
 * only do that, and both engines end the machine on it.
 */
_Noreturn void poweroff_now(void);

#endif
