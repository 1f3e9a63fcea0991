#!/bin/sh
# Plants one bug at a time in a copy of the sources and lets the simulation look for it: plants.sh DIR CC FIRST.
# A bug that is not found within 10,000 seeds, or a plant that fits the sources no more, fails.
set -eu
dir=$1 cc=$2 first=$3
root=$(dirname "$0")/..
failed=0

plant() { # name, file, sed expression
    rm -rf "$dir/src" && mkdir -p "$dir" && cp -r "$root/src" "$dir/src"
    sed -i -e "$3" "$dir/src/table/$2"
    if cmp -s "$root/src/table/$2" "$dir/src/table/$2"; then
        echo "$1: the plant does not fit $2 any more"
        failed=1
        return
    fi
    $cc -std=gnu11 -O2 -w -I"$root/include" -I"$dir/src" -I"$root" -o "$dir/table" "$root"/sim/*.c "$dir"/src/table/*.c
    if found=$("$dir/table" "$first" 10000 200 2>&1 | grep -E '^seed|Assertion'); then
        echo "$1: found: $found"
    else
        echo "$1: NOT FOUND"
        failed=1
    fi
}

plant "a lease that comes back serves nobody in line" lease.c '/must_yield(t, f, m))/,/ct__serve/s/ct__serve(t, f, NULL, now_ns);/(void)now_ns;/'
plant "the line is served from its end" lease.c 's/CT__OF(ct__call, line, line->next)/CT__OF(ct__call, line, line->prev)/'
plant "one instance more than max_replicas" pool.c 's/f->current >= f->row.max_replicas ? 0 : f->row.max_replicas - f->current/f->current > f->row.max_replicas ? 0 : f->row.max_replicas - f->current + 1/'
plant "an evicted member stays on the shelf" member.c '/^void ct__member_bury/,/^}/s/ct__list_remove(&m->shelf);/(void)m;/'
plant "a boot that a deploy overtook is put on the shelf" member.c '/^int ct_member_booted/,/^}/s/if (!is_current(m))/if (is_current(m) \&\& m->leases > 0)/'
plant "a place that comes free wakes nobody" member.c '/^int ct_member_gone/,/^}/s/ct__pool_pump(t, f);/(void)now_ns;/'
plant "a caller that gives up keeps its instance" lease.c '/^int ct_call_end/,/^}/s/give_back(t, c, is_broken/if (status != CT_STATUS_CANCELLED) give_back(t, c, is_broken/'
plant "a refused boot leaves its caller waiting" member.c '/^int ct_member_boot_failed/,/^}/s/ct__refuse(t, c, .*;/(void)c;/'
plant "an isolated instance serves a second call" member.c 's/const bool is_spent = is_broken || .*;/const bool is_spent = is_broken;/'
plant "room that is given back wakes nobody" tenants.c '/^int ct_tenant_unhold/,/^}/s/ct__pool_pump(t, NULL);/(void)t;/'
exit $failed
