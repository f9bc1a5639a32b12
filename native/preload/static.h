/* SPDX-License-Identifier: Apache-2.0 */
/* Programs without a libc of which names could be taken, and the process that answers for them. */
#ifndef ZD_PRELOAD_STATIC_H
#define ZD_PRELOAD_STATIC_H

#include <stdbool.h>

#define ZP_STATIC_BASE 900 /* the lowest number of a disk's descriptor in such a program */

bool zp_is_static(const char *path);
/* In a process that is about to become such a program: from here on somebody answers for it. 0 or -errno. */
int zp_static_prepare(void);
/* answer.c: answers what comes by the listener until nobody is left who could ask. */
void zp_answer(int listener);

#endif
