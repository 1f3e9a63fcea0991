#include "wasm/wasi.h"

#include <errno.h>

/* Ordered as the kernel's are; what no call of ours can meet is an error of input or output. */
static const uint8_t ERRORS[] = {
    [EPERM] = CT__WASI_PERM,
    [ENOENT] = CT__WASI_NOENT,
    [EINTR] = 27,
    [EIO] = CT__WASI_IO,
    [ENXIO] = 60,
    [E2BIG] = 1,
    [EBADF] = CT__WASI_BADF,
    [EAGAIN] = 6,
    [ENOMEM] = 48,
    [EACCES] = 2,
    [EFAULT] = CT__WASI_FAULT,
    [EBUSY] = 10,
    [EEXIST] = 20,
    [EXDEV] = 75,
    [ENODEV] = 43,
    [ENOTDIR] = CT__WASI_NOTDIR,
    [EISDIR] = CT__WASI_ISDIR,
    [EINVAL] = CT__WASI_INVAL,
    [ENFILE] = 41,
    [EMFILE] = CT__WASI_MFILE,
    [ETXTBSY] = 74,
    [EFBIG] = 22,
    [ENOSPC] = 51,
    [ESPIPE] = CT__WASI_SPIPE,
    [EROFS] = CT__WASI_ROFS,
    [EMLINK] = 34,
    [EPIPE] = 64,
    [ERANGE] = 68,
    [ENAMETOOLONG] = CT__WASI_NAMETOOLONG,
    [ENOSYS] = 52,
    [ENOTEMPTY] = 55,
    [ELOOP] = 32,
    [EOVERFLOW] = 61,
    [EOPNOTSUPP] = CT__WASI_NOTSUP,
    [ESTALE] = 72,
    [EDQUOT] = 19,
};

int32_t ct__wasi_error(int number) {
    const bool is_known = number > 0 && (size_t)number < sizeof ERRORS && ERRORS[number] != 0;
    return is_known ? ERRORS[number] : CT__WASI_IO;
}

int32_t ct__wasi_errno(void) {
    return ct__wasi_error(errno);
}
