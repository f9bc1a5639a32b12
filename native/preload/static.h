/* SPDX-License-Identifier: Apache-2.0 */
/* Programs without a libc of which names could be taken, and the process that answers for them. */
#ifndef ZD_PRELOAD_STATIC_H
#define ZD_PRELOAD_STATIC_H

#include <stdbool.h>

#define ZP_STATIC_BASE 900   /* the lowest number of a disk's descriptor in such a program */
#define ZP_STATIC_MOST 100   /* how many it can have */
#define ZP_STATIC_COPIED 9   /* the highest that a shell or dup2() commonly makes of one */
#define ZP_SYS_FCHMODAT2 452 /* of Linux 6.6: the headers may be older */

bool zp_is_static(const char *path);
/* Whether the kernel gives it privileges, and lets no library stand before it. */
bool zp_is_privileged(const char *path);
/* In a process that is about to become such a program: from here on somebody answers for it. 0 or -errno. */
int zp_static_prepare(void);
/* answer.c: answers what comes by the listener until nobody is left who could ask. */
void zp_answer(int listener);

#endif
