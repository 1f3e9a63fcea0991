/* Where the last exception of this thread was thrown. */
#ifndef CONSTELLATION_THROWN_H
#define CONSTELLATION_THROWN_H

enum { CT__THROWN_FRAMES = 32 };

extern __thread void *ct__thrown_at[CT__THROWN_FRAMES];
extern __thread int ct__thrown_count;

#endif
