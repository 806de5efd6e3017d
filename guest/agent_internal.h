/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the agent share: agent.c (loop), startup.c, dispatch.c. */
#ifndef GUEST_AGENT_INTERNAL_H
#define GUEST_AGENT_INTERNAL_H

#include "guest/agent.h"

/* Frames of the host are handled while less than this is queued for it: answers need room. */
#define AGENT_OUT_HIGH (1u << 20)

/* agent_flush() - write what the port takes. Return: 0; -errno when the host is gone. */
int agent_flush(struct agent *a);

/* agent_fill() - read once. Return: 1 if bytes came, 0 if there are none now, -ENOTCONN at end of
 * file, -errno. */
int agent_fill(struct agent *a);

/* agent_ms_until() - rounded up; 0 if @at_ns is past. */
int agent_ms_until(uint64_t at_ns);

/* agent_handle_frames() - handle what is buffered, as long as there is room for the answers; says
 * in a->frames_left whether something may be left. */
void agent_handle_frames(struct agent *a);

#endif
