/* The trusted local user: whoever Python has said is one, and whoever else is one by the same rule. The rule is Python's: which uid,
 * and which values of Host are this machine's own names; here are only those that it has let in before. */
#define _GNU_SOURCE
#include "edge/edge.h"

#include "base/scope.h"
#include "edge/peer.h"

#include <string.h>

static bool is_host(const ct__host *known, ct__span given) {
    return known->len > 0 && known->len == given.len && memcmp(known->text, given.at, known->len) == 0;
}

static const ct__host *find(const ct__local *local, ct__span given) {
    for (size_t i = 0; i < CT__LOCAL_HOSTS; i++)
        if (is_host(&local->hosts[i], given))
            return &local->hosts[i];
    return NULL;
}

void ct_edge_trust(ct_edge *edge, uint64_t handle, const uint8_t *host, size_t host_len) {
    const uint32_t slot = (uint32_t)handle;
    ct__caller *c = slot < edge->slot_count ? edge->slots[slot] : NULL;
    if (c == NULL || c->handle != handle || host_len == 0 || host_len > sizeof c->host.text)
        return;
    memcpy(c->host.text, host, host_len);
    c->host.len = host_len;
    ct__local *local = &edge->local;
    if (find(local, (ct__span){host, host_len}) == NULL)
        local->hosts[local->next_host++ % CT__LOCAL_HOSTS] = c->host;
}

int ct_edge_local(ct_edge *edge, uint32_t uid) {
    const int netlink = ct__peer_open();
    if (netlink < 0)
        return netlink;
    ct_drop_fd(&edge->local.netlink);
    edge->local.netlink = netlink;
    edge->local.uid = uid;
    return 0;
}

bool ct__trusts(ct__caller *c, ct__span host) {
    if (c->host.len > 0)
        return is_host(&c->host, host);
    ct__local *local = &c->edge->local;
    const ct__host *known = local->netlink >= 0 ? find(local, host) : NULL;
    uint32_t uid;
    if (known == NULL || ct__peer_uid(local->netlink, ++local->sequence, c->conn.fd, &uid) != 0 || uid != local->uid)
        return false;
    c->host = *known;
    return true;
}
