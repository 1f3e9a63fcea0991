#define _GNU_SOURCE
#include "base/err.h"

#include <string.h>

int ct_abi_version(void) {
    return CT_ABI_VERSION;
}

static const char *ours(enum ct_err code) {
    switch (code) { /* no default: a code without text must not build */
    case CT_E_MORE:
        return "the input ends before the item does";
    case CT_E_TOOBIG:
        return "a length is above its limit";
    case CT_E_MALFORMED:
        return "malformed bytes";
    case CT_E_DEPTH:
        return "nested too deep";
    case CT_E_NOSPACE:
        return "the buffer is too small";
    case CT_E_RANGE:
        return "a value is out of range";
    case CT_E_UNSUPPORTED:
        return "this host lacks what was asked for";
    case CT_E_THREADS:
        return "a fork server must have one thread";
    case CT_E_FULL:
        return "every slot is taken";
    case CT_E_TIMEOUT:
        return "the deadline passed";
    case CT_E_DIED:
        return "the child ended before its sandbox was complete";
    case CT_E_TLS:
        return "TLS failed";
    case CT_E_TLS_CUT:
        return "the TLS stream was cut off";
    case CT_E_CERT_EXPIRED:
        return "the peer's certificate has expired, or is not valid yet";
    case CT_E_CERT_NAME:
        return "the peer's certificate is for another host";
    case CT_E_CERT_UNKNOWN:
        return "the peer's certificate is not signed by a trusted authority";
    case CT_E_CERT_MISSING:
        return "the peer showed no certificate";
    case CT_E_CERT_REFUSED:
        return "the peer does not accept our certificate, or we have none";
    }
    return "unknown error";
}

const char *ct_strerror(int code) {
    if (code >= 0)
        return "success";
    if (code <= -3000)
        return ours((enum ct_err)code);
    const char *text = strerrordesc_np(-code);
    return text != NULL ? text : "unknown error";
}
