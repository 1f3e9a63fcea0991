/* Hosts that tenants serve under: a request to one of them is no call of the platform's API, whoever sends it. */
#ifndef CT_EDGE_DOMAINS_H
#define CT_EDGE_DOMAINS_H

#include "base/abi.h"
#include "edge/http1.h"

enum { CT__DOMAIN_BYTES = 253 };

typedef struct ct__domains {
    uint8_t *text;  /* names one after the other */
    uint32_t *ends; /* of each in `text`; ascending by their bytes */
    uint32_t count;
    bool is_unknown; /* what there is could not be kept: any host may be one */
} ct__domains;

/* Takes the place of all that were known. `names`: lower case, each ended by '\n', ascending by their bytes, none twice; a wildcard
 * begins with "*.". Returns 0, CT_E_RANGE (they are not so) or -ENOMEM: then every host counts as one of them. */
int ct__domains_set(ct__domains *domains, const uint8_t *names, size_t len);
void ct__domains_fini(ct__domains *domains);

/* Whether the value of a Host header names one of them, or one that a wildcard covers. */
bool ct__domains_have(const ct__domains *domains, ct__span host);

#endif
