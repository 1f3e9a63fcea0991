/* The host's side of the page that it shares with one worker (proto/page.h). */
#ifndef CT_LINK_MAIL_H
#define CT_LINK_MAIL_H

#include "proto/page.h"

struct ct_mail {
    ct__page *page;
    int page_fd; /* -1 once sealed */
    int bell_fd; /* the worker writes to it; never read here, and never written to: its flags are the guest's too */
    uint32_t announced; /* frames given to the socket */
    uint32_t heard;     /* frames taken from the socket */
    uint32_t rings;     /* that are due: one for each frame taken from the page */
};

/* Puts a frame on the page and wakes the worker. False: it is for the socket, which the worker will look at. */
bool ct__mail_put(ct_mail *mail, const uint8_t *frame, size_t len);

/* As ct__page_take, of what the worker said next. */
int ct__mail_take(ct_mail *mail, uint8_t out[CT__PAGE_FRAME_BYTES]);

/* Has the worker look at the socket, whose end it finds there. */
void ct__mail_farewell(ct_mail *mail);

#endif
