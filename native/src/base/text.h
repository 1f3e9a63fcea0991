/* Program text that forks cheaply. A library is mapped in pieces, one a kind of access, and every fork copies and every
 * exit undoes each piece; and what a child runs of it, it finds again fault by fault. */
#ifndef CT_BASE_TEXT_H
#define CT_BASE_TEXT_H

#include <stddef.h>

/* Lets the pieces of each loaded library that nobody may write to be one: its constants become executable as its text
 * is, nothing becomes writable. Returns how many libraries it changed. */
size_t ct__text_merge(void);

/* Moves the text of the library that `inside` lies in to huge pages of memory, at the same addresses, as far as they
 * fit. Returns how many it made: none where the kernel can not, or has no memory for them. After ct__text_merge(), in a
 * process with one thread. */
size_t ct__text_join(const void *inside);

#endif
