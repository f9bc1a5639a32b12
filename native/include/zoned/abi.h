/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zoned/abi.h - what a program and the library agree on: the number of the interface, and how headers are read.
 *
 * The shared library is libzoned.so.N with N = ZD_ABI_MAJOR, and its symbols have the version ZONED_N. Within one N functions
 * are only added, enums only get new members, and structs grow in two ways only:
 *
 *   Structs with a first member struct_size (struct zd_request: size) grow at their end. Their user sets it to the sizeof that
 *   he was compiled with. Of one that he hands in, what he does not have counts as zero; what this library does not know
 *   must be zero (-EINVAL). Of one that is filled for him he gets as much as he has room for.
 *   All others keep their size: they come in arrays, or are filled where nothing may be asked first (struct zd_error). Their
 *   reserved members are zero, and get a meaning some day for which zero is what was before.
 *
 * zd_abi() is for who loads the library by name, or finds it through several hands: it tells ZD_ABI of the library
 * in use, whose lower half counts what was added.
 */
#ifndef ZONED_ABI_H
#define ZONED_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define ZD_BEGIN extern "C" { _Pragma("GCC visibility push(default)")
#define ZD_END _Pragma("GCC visibility pop") }
#else
#define ZD_BEGIN _Pragma("GCC visibility push(default)")
#define ZD_END _Pragma("GCC visibility pop")
#endif

#define ZD_ABI_MAJOR 0
#define ZD_ABI_MINOR 1
#define ZD_ABI ((uint32_t)(ZD_ABI_MAJOR << 16 | ZD_ABI_MINOR))

ZD_BEGIN

typedef struct zd_dev zd_dev; /* one opener's handle on a disk (device.h) */
struct zd_error;              /* error.h */

/* ZD_ABI as the library was compiled. A program can use it if the upper halves are equal and its lower half is not larger. */
uint32_t zd_abi(void);

ZD_END

#endif
