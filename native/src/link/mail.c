#define _GNU_SOURCE
#include "link/mail.h"

#include "base/err.h"
#include "base/scope.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int ct_mail_new(ct_mail **out) {
    ct_automem ct_mail *mail = calloc(1, sizeof *mail);
    if (mail == NULL)
        return -ENOMEM;
    ct_autofd page = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ct_autofd bell = page >= 0 ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    /* Else a touch of the page could kill this process. */
    if (bell < 0 || ftruncate(page, CT__PAGE_BYTES) != 0 || fcntl(page, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return ct__errno();
    void *mapped = mmap(NULL, CT__PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, page, 0);
    if (mapped == MAP_FAILED)
        return ct__errno();
    *mail = (ct_mail){.page = mapped, .page_fd = ct_take_fd(&page), .bell_fd = ct_take_fd(&bell)};
    *out = mail;
    mail = NULL;
    return 0;
}

int ct_mail_page_fd(const ct_mail *mail) {
    return mail->page_fd;
}

int ct_mail_bell_fd(const ct_mail *mail) {
    return mail->bell_fd;
}

/* Else the guest could take the page out from under us again and again, and have us wait for another one. */
int ct_mail_seal(ct_mail *mail) {
    const int result = fcntl(mail->page_fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) != 0 ? ct__errno() : 0;
    ct_drop_fd(&mail->page_fd);
    return result;
}

void ct_mail_free(ct_mail *mail) {
    if (mail == NULL)
        return;
    (void)munmap(mail->page, CT__PAGE_BYTES);
    ct_drop_fd(&mail->page_fd);
    ct_drop_fd(&mail->bell_fd);
    free(mail);
}

static void ring(ct_mail *mail) {
    (void)atomic_fetch_add(&mail->page->bell, 1);
    (void)syscall(SYS_futex, &mail->page->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void announce(ct_mail *mail) {
    atomic_store(&mail->page->announced, ++mail->announced);
}

bool ct__mail_put(ct_mail *mail, const uint8_t *frame, size_t len) {
    const bool is_put = ct__page_put(&mail->page->to_worker, frame, len, mail->announced);
    if (!is_put)
        announce(mail);
    ring(mail);
    return is_put;
}

int ct__mail_take(ct_mail *mail, uint8_t out[CT__PAGE_FRAME_BYTES]) {
    const int len = ct__page_take(&mail->page->to_host, mail->heard, out);
    if (len > 0)
        mail->rings++;
    return len;
}

void ct__mail_farewell(ct_mail *mail) {
    announce(mail);
    ring(mail);
}
