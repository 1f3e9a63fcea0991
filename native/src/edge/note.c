/* Calls that comet refused for who asked or how often, kept for the audit until Python takes them. */
#include "edge/lane.h"

#include <string.h>

void ct__note(ct__caller *c, uint32_t status, const char *code) {
    ct__lane *lane = c->edge->lane;
    if (status != 401 && status != 403 && status != 429)
        return;
    for (size_t i = 0; i < lane->note_count; i++) {
        ct_edge_note *known = &lane->notes[i];
        if (lane->note_of[i] == c->who && known->status == status && strcmp(known->function, c->function) == 0
            && strcmp(known->code, code) == 0) {
            known->count++;
            return;
        }
    }
    if (lane->note_count == CT_EDGE_NOTES) {
        lane->notes_lost++;
        return;
    }
    ct_edge_note *note = &lane->notes[lane->note_count];
    *note = (ct_edge_note){.count = 1, .status = status, .is_stream = c->stream.is_wanted};
    memcpy(note->address, c->address.bytes, sizeof note->address);
    memcpy(note->function, c->function, sizeof note->function);
    memcpy(note->code, code, strlen(code) + 1);
    memcpy(note->request_id, c->request_id, CT__UUID_BYTES);
    const ct__principal *who = ct__principals_known(&lane->principals, c->who);
    if (who != NULL) {
        note->token_len = (uint32_t)who->token_len;
        memcpy(note->token, who->bytes + who->key_len, who->token_len);
    }
    lane->note_of[lane->note_count++] = c->who;
}

size_t ct_edge_notes(ct_edge *edge, ct_edge_note *out, size_t cap, uint64_t *lost) {
    ct__lane *lane = edge->lane;
    *lost = 0;
    if (lane == NULL)
        return 0;
    const size_t given = lane->note_count < cap ? lane->note_count : cap;
    memcpy(out, lane->notes, given * sizeof *out);
    lane->note_count -= given;
    memmove(lane->notes, lane->notes + given, lane->note_count * sizeof *lane->notes);
    memmove(lane->note_of, lane->note_of + given, lane->note_count * sizeof *lane->note_of);
    *lost = lane->notes_lost;
    lane->notes_lost = 0;
    return given;
}
